"""Owns what the clients of the soak send, and what may come back."""

import json
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

CODER, EMBEDDER = "coder", "minilm"
CORPUS_CHARS = 1_500_000
LEAVE_WITHIN_S = 1.5


@dataclass(frozen=True)
class Ask:
    """One request. `ending` is what a good stream ends with; `leaves_after_s` is when its client goes."""

    kind: str
    path: str
    body: bytes
    status: int = 200
    ending: bytes = b""
    leaves_after_s: float | None = None
    method: str = "POST"
    token: str | None = None  # None: that of a user


class Text:
    """Distinct slices of the Python standard library."""

    def __init__(self, random: Random) -> None:
        self.random = random
        files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
        self._corpus = "".join(file.read_text(encoding="utf-8") for file in files)[:CORPUS_CHARS]

    def cut(self, least: int, most: int) -> str:
        length = self.random.randint(least, most)
        start = self.random.randrange(len(self._corpus) - length)
        return self._corpus[start : start + length]


Make = Callable[[Text], Ask]


def ask_chat(text: Text) -> Ask:
    turns = text.random.choice([1, 1, 3])
    messages = [{"role": ("user", "assistant")[at % 2], "content": text.cut(100, 900)} for at in range(turns)]
    body = {"model": CODER, "messages": messages, "max_tokens": text.random.randint(8, 64)}
    if text.random.random() < 0.6:
        return Ask("chat", "/v1/chat/completions", _json(body, stream=True), ending=b"data: [DONE]\n\n")
    return Ask("chat", "/v1/chat/completions", _json(body, n=text.random.choice([1, 1, 2])))


def ask_completion(text: Text) -> Ask:
    """What editors send, by all three doors."""
    before, after = text.cut(300, 3000), text.cut(50, 1000)
    match text.random.randrange(3):
        case 0:
            segments = {"prefix": before, "suffix": after, "filepath": f"src/{text.random.randrange(50)}.py"}
            return Ask("completion", "/v1/completions", _json({"language": "python", "segments": segments}))
        case 1:
            body = {"input_prefix": before, "input_suffix": after, "n_predict": 32, "t_max_predict_ms": 2000}
            return Ask("completion", "/infill", _json(body, stream=text.random.random() < 0.5))
        case _:
            body = {"model": CODER, "prompt": before, "suffix": after, "max_tokens": 24, "temperature": 0}
            return Ask("completion", "/v1/completions", _json(body))


def ask_embedding(text: Text) -> Ask:
    inputs = [text.cut(20, 400) for _ in range(text.random.randint(1, 4))]
    return Ask("embedding", "/v1/embeddings", _json({"model": EMBEDDER, "input": inputs}))


def ask_dialect(text: Text) -> Ask:
    message = {"role": "user", "content": text.cut(100, 600)}
    streams = text.random.random() < 0.5
    if text.random.random() < 0.5:
        body: dict[str, Any] = {"model": CODER, "max_tokens": 24, "messages": [message], "stream": streams}
        return Ask("dialect", "/v1/messages", _json(body))
    return Ask("dialect", "/v1/responses", _json({"input": [message], "max_output_tokens": 24, "stream": streams}))


def ask_and_leave(text: Text) -> Ask:
    """Far more than is waited for, streamed and whole."""
    body = {"model": CODER, "prompt": text.cut(100, 900), "max_tokens": 1500, "ignore_eos": True}
    leaves_after_s = text.random.uniform(0.0, LEAVE_WITHIN_S)
    return Ask(
        "leaving",
        "/v1/completions",
        _json(body, stream=text.random.random() < 0.7),
        leaves_after_s=leaves_after_s,
    )


def ask_state(text: Text) -> Ask:
    path = text.random.choice(["/health", "/ready", "/metrics", "/v1/models", "/openapi.json", "/v1/health"])
    return Ask("state", path, b"", method="GET")


def ask_badly(text: Text) -> Ask:
    """Each with the one status that it must get."""
    chat, completion, embedding = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
    messages = [{"role": "user", "content": text.cut(20, 60)}]
    good: dict[str, Any] = {"model": CODER, "messages": messages, "max_tokens": 4}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such type"}}}
    bad: list[tuple[str, bytes, int]] = [
        (chat, text.cut(10, 500).encode(), 400),
        (chat, b"[" * 100_000, 400),
        (chat, b"\xff\xfe{}", 400),
        (chat, _json({"model": CODER}), 400),
        (chat, _json(good, model="absent"), 404),
        (chat, _json(good, temperature=9), 400),
        (chat, _json(good, max_tokens=-1), 400),
        (chat, _json(good, n=1000), 400),
        (chat, _json(good, messages=[{"role": "user", "content": {"a": [None]}}]), 400),
        (chat, _json(good, messages=[{"role": "user", "content": text.cut(40_000, 60_000)}]), 400),
        (chat, _json(good, response_format=schema), 400),
        (chat, _json(good, stream=True, logit_bias={"99999999": 5}), 400),
        (completion, _json({"model": CODER, "prompt": [[1, 2], "a"]}), 400),
        (completion, _json({"model": CODER, "prompt": [99_999_999]}), 400),
        (completion, _json({"language": "python", "segments": {"suffix": 5}}), 400),
        (embedding, _json({"model": CODER, "input": "x"}), 404),
        (embedding, _json({"model": EMBEDDER, "input": text.cut(20_000, 30_000)}), 400),
        ("/v1/messages", _json({"model": CODER, "messages": messages}), 400),
        ("/v1/responses", _json({"input": 5}), 400),
        ("/infill", _json({"input_prefix": 5}), 400),
        ("/v1/" + text.cut(5, 20).encode().hex(), b"{}", 404),
    ]
    path, body, status = text.random.choice(bad)
    return Ask("bad", path, body, status)


def ask_as_a_stranger(text: Text) -> Ask:
    token = text.random.choice(["", "kdf_" + "0" * 49, text.random.randbytes(24).hex()])
    return Ask("stranger", "/v1/chat/completions", _json({"model": CODER}), 401, token=token)


# Requests a second of each, of a machine that has two cores and other work.
RATES: dict[Make, float] = {
    ask_chat: 1.0,
    ask_completion: 2.0,
    ask_embedding: 1.0,
    ask_dialect: 0.3,
    ask_and_leave: 0.5,
    ask_badly: 2.0,
    ask_as_a_stranger: 0.3,
    ask_state: 0.5,
}


def _json(body: dict[str, Any], **more: Any) -> bytes:
    return json.dumps(body | more).encode()
