"""The guide's whole list of errors, line by line, on both endpoints where it names both."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.test_errors import assert_error
from tests.integration.conftest import MODEL

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "system", "content": "prompt"}, {"role": "user", "content": "prompt"}]
GOOD: dict[str, dict[str, Any]] = {
    CHAT: {"model": MODEL, "messages": MESSAGES},
    COMPLETIONS: {"model": MODEL, "prompt": "def main():"},
}
BOTH = (CHAT, COMPLETIONS)
CONTEXT = 4096


def listed(type_: str, field: str, message: str, given: Any) -> str:
    return str([{"type": type_, "loc": ("body", field), "msg": message, "input": given}])


def number(field: str) -> str:
    message = "Input should be a valid number, unable to parse string as a number"
    return listed("float_parsing", field, message, "gh")


def integer(field: str) -> str:
    return listed("int_parsing", field, "Input should be a valid integer, unable to parse string as an integer", "gh")


def fraction(field: str) -> str:
    message = "Input should be a valid integer, got a number with a fractional part"
    return listed("int_from_float", field, message, 1.5)


# (endpoints, field, value, message)
OUT_OF_RANGE = [
    (BOTH, "temperature", "gh", number("temperature")),
    (BOTH, "temperature", -5.0, "temperature must be non-negative, got -5.0."),
    (BOTH, "temperature", 3, "temperature must be in the range from 0 to 2, got 3."),
    (BOTH, "top_p", "gh", number("top_p")),
    (BOTH, "top_p", -1.0, "top_p must be in (0, 1], got -1.0."),
    (BOTH, "top_p", 1.5, "top_p must be in (0, 1], got 1.5."),
    (BOTH, "max_tokens", "gh", integer("max_tokens")),
    (BOTH, "max_tokens", -1, "max_tokens must be at least 1, got -1."),
    (BOTH, "max_tokens", 1.5, fraction("max_tokens")),
    (BOTH, "n", "gh", integer("n")),
    (BOTH, "n", -1, "n must be at least 1, got -1."),
    (BOTH, "n", 1.5, fraction("n")),
    (BOTH, "n", 23, "n must be in the range from 1 to 10, got 23."),
    (BOTH, "stream", 1.5, listed("bool_type", "stream", "Input should be a valid boolean", 1.5)),
    (BOTH, "frequency_penalty", "gh", number("frequency_penalty")),
    (BOTH, "frequency_penalty", -3.0, "frequency_penalty must be in [-2, 2], got -3.0."),
    (BOTH, "presence_penalty", "gh", number("presence_penalty")),
    (BOTH, "presence_penalty", -3.0, "presence_penalty must be in [-2, 2], got -3.0."),
    ((COMPLETIONS,), "best_of", 23, "best_of must be in the range from 1 to 10, got 23."),
    ((COMPLETIONS,), "best_of", 0, "best_of must be at least 1, got 0."),
]
CASES = [(path, *case) for paths, *case in OUT_OF_RANGE for path in paths]


@pytest.mark.parametrize(("path", "field", "value", "message"), CASES)
def test_a_field_of_the_wrong_type_or_range(
    client: httpx.Client, path: str, field: str, value: Any, message: str
) -> None:
    answer = client.post(path, json={**GOOD[path], field: value})
    body = assert_error(answer, 400, "BadRequestError", message)
    assert body["param"] == field


@pytest.mark.parametrize(
    ("path", "field"), [(CHAT, "messages"), (CHAT, "model"), (COMPLETIONS, "prompt"), (COMPLETIONS, "model")]
)
def test_a_missing_field(client: httpx.Client, path: str, field: str) -> None:
    rest = {name: value for name, value in GOOD[path].items() if name != field}
    message = listed("missing", field, "Field required", rest)
    assert_error(client.post(path, json=rest), 400, "BadRequestError", message)


@pytest.mark.parametrize("path", BOTH)
def test_an_unknown_model(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json={**GOOD[path], "model": "model"})
    assert_error(answer, 404, "NotFoundError", 'The model "model" does not exist.')


@pytest.mark.parametrize("path", BOTH)
def test_a_body_that_is_no_json(client: httpx.Client, path: str) -> None:
    answer = client.post(path, content=b'{"model": "kodify-nano", "prompt": hello}')
    message = (
        "[{'type': 'json_invalid', 'loc': ('body', 35), 'msg': 'JSON decode error', 'input': {}, "
        "'ctx': {'error': 'Expecting value'}}]"
    )
    assert_error(answer, 400, "BadRequestError", message)


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("words", [5_000, 200_000])
def test_a_prompt_that_is_too_long_is_counted(client: httpx.Client, path: str, words: int) -> None:
    text = "word " * words
    body = GOOD[path] | ({"messages": [{"role": "user", "content": text}]} if path == CHAT else {"prompt": text})
    message = assert_error(client.post(path, json=body), 400, "BadRequestError")["message"]
    start = f"This model's maximum context length is {CONTEXT} tokens. However, you requested "
    end = " tokens in the messages, Please reduce the length of the messages."
    assert message.startswith(start)
    assert message.endswith(end)
    assert int(message.removeprefix(start).removesuffix(end)) > words


def test_too_long_a_prompt_of_token_ids(client: httpx.Client) -> None:
    answer = client.post(COMPLETIONS, json={"model": MODEL, "prompt": [5] * 5000})
    assert "you requested 5000 tokens in the messages" in assert_error(answer, 400, "BadRequestError")["message"]


@pytest.mark.parametrize("path", BOTH)
def test_more_tokens_asked_for_than_the_context_has(client: httpx.Client, path: str) -> None:
    used = client.post(path, json={**GOOD[path], "max_tokens": 1}).json()["usage"]["prompt_tokens"]
    answer = client.post(path, json={**GOOD[path], "max_tokens": 4000 + 100})
    message = (
        f"This model's maximum context length is {CONTEXT} tokens. However, you requested {4100 + used} tokens "
        f"({used} in the messages, 4100 in the completion). Please reduce the length of the messages or completion."
    )
    assert_error(answer, 400, "BadRequestError", message)


@pytest.mark.parametrize("path", BOTH)
def test_another_method(client: httpx.Client, path: str) -> None:
    assert_error(client.get(path), 405, "MethodNotAllowedError", "Method Not Allowed")


ODD_FIELDS: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": 5}),
    (CHAT, {"messages": []}),
    (CHAT, {"messages": [5]}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}]}]}),
    (CHAT, {"model": 5}),
    (CHAT, {"top_logprobs": 5}),
    (CHAT, {"logprobs": True, "top_logprobs": 1000}),
    (CHAT, {"tools": [{"type": "function"}]}),
    (CHAT, {"tools": "x"}),
    (CHAT, {"tool_choice": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}),
    (CHAT, {"response_format": {"type": "json_schema"}}),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}}),
    (CHAT, {"chat_template": "{{ 1 }}"}),
    (CHAT, {"stream_options": {"include_usage": True}}),
    (CHAT, {"seed": 2**70}),
    (CHAT, {"use_beam_search": True}),
    (CHAT, {"temperature": "inf"}),
    (CHAT, {"vllm_xargs": {"kv_transfer_params": "x"}}),
    (COMPLETIONS, {"prompt": None, "prompt_embeds": "AAAA", "suffix": "x"}),
    (COMPLETIONS, {"best_of": 2, "temperature": 0}),
    (COMPLETIONS, {"prompt": ""}),
    (COMPLETIONS, {"prompt": []}),
    (COMPLETIONS, {"prompt": [[]]}),
    (COMPLETIONS, {"prompt": [10**9]}),
    (COMPLETIONS, {"prompt": [-1]}),
    (COMPLETIONS, {"prompt": {"a": 1}}),
    (COMPLETIONS, {"prompt": [1, "a"]}),
    (COMPLETIONS, {"prompt_embeds": "AAAA"}),
    (COMPLETIONS, {"logprobs": "x"}),
    (COMPLETIONS, {"logprobs": 10**6}),
    (COMPLETIONS, {"logit_bias": {"a": 1}}),
    (COMPLETIONS, {"logit_bias": {"999999": 1}}),
    (COMPLETIONS, {"logit_bias": 5}),
    (COMPLETIONS, {"stop": ""}),
    (COMPLETIONS, {"stop": 5}),
    (COMPLETIONS, {"suffix": "x", "prompt": [5, 6]}),
    (COMPLETIONS, {"suffix": "x", "echo": True}),
    (COMPLETIONS, {"suffix": 5}),
    (COMPLETIONS, {"stream_options": 5, "stream": True}),
    (COMPLETIONS, {"best_of": "x"}),
    (COMPLETIONS, {"best_of": 2, "n": 3}),
    (COMPLETIONS, {"best_of": 3, "stream": True}),
    (COMPLETIONS, {"max_tokens": 10**30}),
    (COMPLETIONS, {"temperature": 0, "n": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "odd"), ODD_FIELDS)
def test_odd_fields_are_the_callers_mistake_and_never_a_bug(
    client: httpx.Client, path: str, odd: dict[str, Any]
) -> None:
    assert_error(client.post(path, json={**GOOD[path], **odd}), 400, "BadRequestError")


@pytest.mark.parametrize(
    "odd", [{"prompt_embeds": "AAAA"}, {"prompt_embeds": [5], "suffix": "x"}, {"prompt_embeds": {"a": 1}}]
)
def test_another_kind_of_prompt_and_no_text(client: httpx.Client, odd: dict[str, Any]) -> None:
    assert_error(client.post(COMPLETIONS, json={"model": GOOD[COMPLETIONS]["model"], **odd}), 400, "BadRequestError")


@pytest.mark.parametrize("path", BOTH)
def test_unknown_fields_are_accepted(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json={**GOOD[path], "max_tokens": 2, "something_else": {"a": [1]}})
    assert answer.status_code == 200
