"""Bodies that clients send, and what goes wrong with them: in the JSON's tree, and in its bytes. Seeded."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

MODEL = "kodify-nano"
NO_CHAT = "00000000-0000-4000-8000-000000000000"
_TEXT = "def größe(x):\r\n    return '🙂' \u2028 <|fim_middle|>\n"
_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
_CHAT: dict[str, Any] = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}
_PART = {"type": "text", "text": "hi"}

# Well-formed bodies by route; every one is mutated.
JSON_BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        _CHAT,
        {**_CHAT, "stream": True, "stream_options": {"include_usage": True}, "n": 2, "temperature": 0.5},
        {
            **_CHAT,
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [_PART]}],
            "stop": ["x"],
        },
        {**_CHAT, "tools": [_TOOL], "tool_choice": "auto", "logprobs": True, "top_logprobs": 2, "seed": 7},
        {**_CHAT, "response_format": {"type": "json_object"}, "logit_bias": {"5": 1.0}, "presence_penalty": 0.5},
    ],
    "/v1/completions": [
        {"model": MODEL, "prompt": _TEXT, "max_tokens": 2, "top_p": 0.5},
        {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 2, "stream": True, "n": 2, "best_of": 2, "echo": True},
        {"model": MODEL, "prompt": "a", "suffix": "b", "max_tokens": 2, "deadline_ms": 900},
        {"model": MODEL, "prompt": [1, 2, 3], "max_tokens": 2, "logprobs": 2, "stop_token_ids": [5]},
        {"language": "python", "segments": {"prefix": _TEXT, "suffix": "x", "filepath": "a.py"}, "temperature": 0.1},
        {
            "language": "go",
            "segments": {
                "prefix": "f(",
                "declarations": [{"filepath": "a", "body": "b", "score": 1.5}],
                "git_url": "g",
            },
            "debug_options": {"return_prompt": True, "return_snippets": True},
            "seed": 42,
            "user": "u",
        },
    ],
    "/v1/embeddings": [
        {"input": "hi", "model": ""},
        {"input": ["a", "b"], "encoding_format": "base64", "dimensions": 2},
        {"text": [[1, 2], [3]]},
    ],
    "/v1/messages": [
        {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]},
        {
            "model": MODEL,
            "max_tokens": 2,
            "stream": True,
            "system": [_PART],
            "messages": [
                {"role": "user", "content": [_PART]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "4"}]},
            ],
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        },
    ],
    "/v1/messages/count_tokens": [{"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}],
    "/v1/responses": [
        {"input": "hi", "max_output_tokens": 2},
        {
            "model": MODEL,
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
            "instructions": "be brief",
            "stream": True,
            "max_output_tokens": 2,
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        },
    ],
    "/tokenize": [{"prompt": _TEXT}, {"messages": [{"role": "user", "content": "hi"}], "return_token_strs": True}],
    "/detokenize": [{"tokens": [10, 20, 30]}],
    "/infill": [
        {"input_prefix": _TEXT, "input_suffix": "x", "n_predict": 2, "t_max_predict_ms": 500},
        {
            "input_prefix": "a",
            "input_suffix": "b",
            "prompt": "c",
            "input_extra": [{"filename": "f", "text": "t"}],
            "n_predict": 2,
            "stream": True,
            "response_fields": ["content", "timings/prompt_n"],
            "temperature": 0.5,
            "top_k": 4,
        },
    ],
    "/v1/actions/{name}": [
        {"code": _TEXT, "max_tokens": 2},
        {
            "code": "a = 1\nb = 2\n",
            "language": "python",
            "selection": {"start_line": 1, "end_line": 2},
            "path": "src/a.py",
            "instructions": "be brief",
            "stream": True,
            "model": MODEL,
            "temperature": 0.5,
            "top_p": 0.5,
            "max_tokens": 2,
        },
    ],
    "/v1/events": [{"type": "view", "completion_id": "cmpl-1", "choice_index": 0, "view_id": "v", "elapsed": 100}],
    "/process_message": [{"message": "hi", "user_name": "ann", "course": "python"}],
    "/api/v1/collections": [{"name": "notes"}],
    "/api/v1/collections/{name}/search": [
        {"query": "parse a header"},
        {"query": "x", "k": 5, "threshold": 0.5, "path": "lib", "language": "python", "by": "words"},
    ],
    "/api/v1/chat": [
        {},
        {
            "title": "t",
            "model": MODEL,
            "system": "be brief",
            "level": "beginner",
            "temperature": 0.5,
            "top_p": 0.5,
            "max_tokens": 2,
        },
    ],
    "/api/v1/chat/{chat_id}/send_message": [
        {"message": _TEXT},
        {"message": "hi", "edit": NO_CHAT, "regenerate": False},
        {"message": "", "action": {"name": "fix", "code": "a", "selection": {"start_line": 1, "end_line": 1}}},
    ],
    "/session": [{"token": "kdf_x"}, {"token": "another"}],
    "/api/v1/render": [{"markdown": _TEXT}],
    "/v1/load_lora_adapter": [{"lora_name": "a", "lora_path": "/nowhere"}],
    "/v1/unload_lora_adapter": [{"lora_name": "a"}],
    "/api/v1/admin/users": [{"email": "a@example.ru", "password": "x", "days": 1, "privileged": False}],
    "/api/v1/admin/users/{id}/tokens": [{}, {"days": 1}],
}
# Kodify's own pages send it; what a page asks is refused without.
PAGE = {"x-kodify-page": "1"}
# Where a route with a name in it is asked.
ADDRESSES = {
    "/v1/actions/{name}": "/v1/actions/fix",
    "/api/v1/chat/{chat_id}/send_message": f"/api/v1/chat/{NO_CHAT}/send_message",
}
FORM_BODIES: dict[str, list[bytes]] = {
    "/token": [b"username=a%40example.ru&password=x"],
    "/create_user": [b"email=a%40example.ru&password=x&expire=1&privileged=false"],
    "/disable_by_email": [b"email=a%40example.ru"],
    "/disable_by_token": [b"token=kdf_abc"],
    "/disable_all_expired": [b""],
    "/delete_by_email": [b"email=a%40example.ru"],
    "/delete_by_token": [b"token=kdf_abc"],
    "/delete_all_disabled": [b""],
}
MULTIPART = (
    b'--edge\r\nContent-Disposition: form-data; name="username"\r\n\r\na\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="password"; filename="f"\r\n\r\nx\r\n--edge--\r\n'
)
FORM_TYPES = (
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=edge",
    "multipart/form-data",
    "application/json",
    "multipart/form-data; boundary=",
    "",
)


class Raw(bytes):
    """JSON text as it is to be sent, valid or not."""


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, -(2**63) - 1, 10**40, 0.0, -0.0, 0.5, 1e308, -1e-320,
    Raw(b"1e400"), Raw(b"-1e400"), Raw(b"NaN"), Raw(b"Infinity"), Raw(b"9" * 5000),
    Raw(b"0x10"), Raw(b"01"), Raw(b"1."),
    "", " ", "\0", "a\x00b", "x" * 3000, "\u2028\u2029\x85", "🙂" * 50, "\ufffe\ufeff", "<|fim_middle|><|im_end|>",
    "../../etc/passwd", "'; DROP TABLE users; --", "{{7*7}}", "%s%n", "null", "auto", "text", "user", "tool",
    Raw(b'"\\ud800"'), Raw(b'"\\udc00\\ud800"'), Raw(b'"\xff\xfe"'), Raw(b'"\xed\xa0\x80"'),
    Raw(b'"\\x"'), Raw(b'"\n"'),
    [], {}, [None], [[]], [{}], [[[[]]]], ["a", 1, None], {"": ""}, {"type": "text"}, {"type": None}, {"role": "user"},
    [""] * 300, list(range(300)), {str(n): n for n in range(100)},
    Raw(b"[" * 90 + b"]" * 90), Raw(b"[" * 500 + b"]" * 500), Raw(b"[" * 5000 + b"]" * 5000),
    Raw(b'{"a":' * 3000 + b"1" + b"}" * 3000),
)  # fmt: skip
NAMES = (
    "__class__", "$ref", "model", "n", "stream", "prompt", "suffix", "stop", "seed", "logprobs", "priority",
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "echo", "user", "messages", "prompt_embeds", "mm_data",
    "chat_template", "add_generation_prompt", "guided_json", "structured_outputs", "response_format", "tools",
    "tool_choice", "prompt_logprobs", "truncate_prompt_tokens", "cache_salt", "kv_transfer_params", "vllm_xargs",
    "bad_words", "allowed_token_ids", "logits_processors", "request_id", "previous_response_id", "background",
    "continue_final_message", "documents", "mm_processor_kwargs", "reasoning_effort", "thinking_token_budget",
    "min_tokens", "ignore_eos", "use_beam_search", "length_penalty", "return_token_ids", "repetition_penalty", "",
    "\0",
)  # fmt: skip


def dumped(value: Any) -> bytes:
    """JSON, with the raw pieces as they are; an object may be a tuple of pairs, with a name twice."""
    match value:
        case Raw():
            return bytes(value)
        case list():
            return b"[" + b",".join(map(dumped, value)) + b"]"
        case dict() | tuple():
            pairs = value.items() if isinstance(value, dict) else value
            return b"{" + b",".join(json.dumps(k).encode() + b":" + dumped(v) for k, v in pairs) + b"}"
        case _:
            return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def mutated(seed: dict[str, Any], random: Random) -> bytes:
    """One to four things are wrong with it, some of them in its bytes."""
    value: Any = json.loads(json.dumps(seed))
    for _ in range(random.choice((1, 1, 1, 2, 2, 3))):
        value = _in_tree(value, random)
    data = dumped(value)
    return mutated_bytes(data, random) if random.random() < 0.3 else data


def mutated_bytes(data: bytes, random: Random) -> bytes:
    for _ in range(random.choice((1, 1, 2, 8))):
        data = random.choice(_BYTE_MUTATIONS)(data, random)
    return data


def _odd(random: Random) -> Any:
    return deepcopy(random.choice(ODD))


def _in_tree(value: Any, random: Random) -> Any:
    """A place in the tree, the deeper ones as likely as the others, and a change there."""
    if isinstance(value, tuple):
        return value
    places: list[tuple[Any, Any]] = [(None, None)] if random.random() < 0.03 else []
    todo = [value]
    while todo:
        node = todo.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in items:
            places.append((node, key))
            todo.append(child)
    if not places:
        return _odd(random)
    node, key = random.choice(places)
    if node is None:
        return _odd(random)
    match random.randrange(8):
        case 0:
            del node[key]
        case 1:
            node[key] = [node[key]]
        case 2 if isinstance(node, dict):
            return _twice(value, node, key, random)
        case 3 if isinstance(node, dict):
            node[random.choice(NAMES)] = _odd(random)
        case 4 if isinstance(node[key], str):
            at = random.randrange(len(node[key]) + 1)
            node[key] = node[key][:at] + random.choice(("\0", "\r", "\ufffd", "\u202e", "🙂", "'")) + node[key][at:]
        case 5 if isinstance(node, list):
            node *= random.choice((2, 50))
        case _:
            node[key] = _odd(random)
    return value


def _twice(value: Any, node: dict[str, Any], key: str, random: Random) -> Any:
    """A name that the object has twice."""
    if node is value:
        return (*value.items(), (key, _odd(random)))
    return value


def _flip(data: bytes, random: Random) -> bytes:
    if not data:
        return b"\x00"
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _drop(data: bytes, random: Random) -> bytes:
    start = random.randrange(len(data) + 1)
    return data[:start] + data[start + random.randrange(1, 9) :]


_PIECES = (b"\xff", b"\x00", b"\xc3", b"{", b"]", b'"', b",", b"\\", b"9" * 400, b"\xef\xbb\xbf")


def _put(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return (
        data[:at]
        + random.choice((b"\xff", b"\x00", b"\xc3", b"{", b"]", b'"', b",", b"\\", b"9" * 400, b"\xef\xbb\xbf"))
        + data[at:]
    )


def _repeat(data: bytes, random: Random) -> bytes:
    start = random.randrange(len(data) + 1)
    piece = data[start : start + random.randrange(1, 40)]
    return data[:start] + piece * random.choice((2, 3, 100)) + data[start:]


def _recode(data: bytes, random: Random) -> bytes:
    return data.decode("utf-8", "replace").encode(random.choice(("utf-16", "utf-32", "utf-8-sig")))


_BYTE_MUTATIONS: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip,
    _flip,
    _flip,
    _cut,
    _drop,
    _put,
    _put,
    _repeat,
    _recode,
)


Request = tuple[str, bytes, str]


def requests(random: Random) -> list[Request]:
    """One mutated body for each well-formed one: path, body, content type."""
    found = [
        (ADDRESSES.get(path, path), mutated(seed, random), "application/json")
        for path, seeds in JSON_BODIES.items()
        for seed in seeds
    ]
    for path, forms in FORM_BODIES.items():
        for form in forms:
            source = MULTIPART if random.random() < 0.3 else form
            found.append((path, mutated_bytes(source, random), random.choice(FORM_TYPES)))
    random.shuffle(found)
    return found
