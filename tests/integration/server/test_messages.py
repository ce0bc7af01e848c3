"""Anthropic's messages, through its official client."""

from __future__ import annotations

import uuid
from typing import Any

import anthropic
import pytest

from tests.integration.conftest import MODEL
from tests.integration.server.conftest import Spoken

ASK: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 24,
    "messages": [{"role": "user", "content": "Write a Python function `add`."}],
    "extra_body": {"temperature": 0},  # the client itself has none any more
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"unit": {"type": "string", "enum": ["C", "F"]}, "days": {"type": "integer", "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
TOOL: dict[str, Any] = {"name": "get_weather", "description": "Tells the weather", "input_schema": SCHEMA}
CALL: dict[str, Any] = {
    **ASK,
    "max_tokens": 200,
    "tools": [{**TOOL, "strict": True}],
    "tool_choice": {"type": "tool", "name": "get_weather"},
}
TALK: dict[str, Any] = {
    **ASK,
    "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "How warm is it?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"unit": "C", "days": 1}}
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "20 C"}]},
    ],
    "tools": [TOOL],
}


def identified() -> tuple[str, dict[str, str]]:
    request_id = uuid.uuid4().hex
    return request_id, {"x-request-id": request_id}


@pytest.mark.parametrize("body", [ASK, TALK, CALL], ids=["text", "a talk with tools", "a tool's call"])
def test_whole_and_streamed_agree_and_are_journaled(spoken: Spoken, body: dict[str, Any]) -> None:
    whole_id, whole_header = identified()
    streamed_id, streamed_header = identified()
    with spoken.anthropic() as client:
        whole = client.messages.create(**body, extra_headers=whole_header)
        with client.messages.stream(**body, extra_headers=streamed_header) as stream:
            streamed = stream.get_final_message()

    def told(message: anthropic.types.Message) -> Any:
        return [block.model_dump(exclude={"id"}, exclude_none=True) for block in message.content], message.stop_reason

    assert told(streamed) == told(whole)
    assert whole.id.startswith("msg_")
    assert whole.id != streamed.id
    assert (whole.type, whole.role, whole.model) == ("message", "assistant", MODEL)
    assert whole.usage == streamed.usage
    reasons = {"tool_use": "tool_calls", "max_tokens": "length", "end_turn": "stop"}
    for request_id, message in ((whole_id, whole), (streamed_id, streamed)):
        row = spoken.row(request_id)
        assert (row["type"], row["status_code"], row["cancelled"]) == ("POST /v1/messages", 200, False)
        assert row["model"] == MODEL
        assert row["request"]["messages"] == body["messages"]
        kept = anthropic.types.Message.model_validate(row["response"])
        assert told(kept) == told(message)
        assert kept.id == message.id
        assert kept.usage.output_tokens == message.usage.output_tokens
        assert (row["prompt_tokens"], row["completion_tokens"]) == (
            message.usage.input_tokens,
            message.usage.output_tokens,
        )
        assert row["finish_reason"] == reasons[message.stop_reason or ""]
    assert spoken.row(whole_id)["ttft_ms"] is None
    assert 0 < spoken.row(streamed_id)["ttft_ms"] < spoken.row(streamed_id)["duration_ms"]


def test_a_tool_is_called_with_what_its_schema_asks_for(spoken: Spoken) -> None:
    with spoken.anthropic() as client:
        message = client.messages.create(**CALL)
    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert call.name == "get_weather"
    assert set(call.input) == {"unit", "days"}


def test_a_stop_sequence_is_told(spoken: Spoken) -> None:
    with spoken.anthropic() as client:
        text = client.messages.create(**ASK).content[0]
        assert text.type == "text"
        stop = text.text[4:7]
        message = client.messages.create(**ASK, stop_sequences=[stop])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)


@pytest.mark.parametrize("body", [ASK, TALK], ids=["text", "a talk with tools"])
def test_counted_tokens_are_those_that_an_answer_tells(spoken: Spoken, body: dict[str, Any]) -> None:
    asked = {name: body[name] for name in ("model", "messages", "system", "tools") if name in body}
    counted_id, counted_header = identified()
    with spoken.anthropic() as client:
        counted = client.messages.count_tokens(**asked, extra_headers=counted_header).input_tokens
        request_id, header = identified()
        message = client.messages.create(**body, extra_headers=header)
    assert counted == message.usage.input_tokens
    spoken.row(request_id)
    assert spoken.place.rows("SELECT * FROM journal WHERE request_id = %s", counted_id) == []


BAD: list[tuple[dict[str, Any], type[anthropic.APIStatusError], str, str]] = [
    ({"model": "nobody"}, anthropic.NotFoundError, "not_found_error", 'The model "nobody" does not exist.'),
    ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error", "max_tokens must be positive"),
    ({"messages": "hi"}, anthropic.BadRequestError, "invalid_request_error", "valid list"),
    ({"messages": []}, anthropic.BadRequestError, "invalid_request_error", "empty conversation"),
    ({"extra_body": {"temperature": -1}}, anthropic.BadRequestError, "invalid_request_error", "temperature"),
    ({"max_tokens": 100_000}, anthropic.BadRequestError, "invalid_request_error", "max_model_len"),
    ({"messages": [{"role": "user", "content": "word " * 9000}]}, anthropic.BadRequestError, "invalid_request_error",
     "prompt is too long"),
    ({"tools": [{"name": "f"}]}, anthropic.BadRequestError, "invalid_request_error", "input_schema"),
]  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("change", "kind", "told", "words"), BAD, ids=[next(iter(row[0])) for row in BAD])
def test_what_is_refused_is_told_in_the_clients_words(
    spoken: Spoken,
    change: dict[str, Any],
    kind: type[anthropic.APIStatusError],
    told: str,
    words: str,
    streamed: bool,
) -> None:
    request_id, header = identified()
    with spoken.anthropic() as client, pytest.raises(kind) as caught:
        client.messages.create(**{**ASK, **change, "stream": streamed}, extra_headers=header)
    body: Any = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", told)
    assert words in body["error"]["message"]
    assert (body["object"], body["message"], body["code"]) == (
        "error",
        body["error"]["message"],
        caught.value.status_code,
    )
    row = spoken.row(request_id)
    assert (row["status_code"], row["response"]["message"]) == (caught.value.status_code, body["message"])


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_a_wrong_token_and_what_is_no_json(spoken: Spoken, path: str) -> None:
    with spoken.client("wrong") as client:
        answer = client.post(path, json=ASK)
    assert (answer.status_code, answer.json()["type"]) == (401, "error")
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["www-authenticate"] == "Bearer"
    with spoken.client() as client:
        answer = client.post(path, content=b"{")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("after", ["content_block_delta", None], ids=["streamed", "whole"])
def test_the_engine_stops_when_the_client_leaves(spoken: Spoken, after: str | None) -> None:
    body = {**ASK, "max_tokens": 3900, "stream": after is not None, "temperature": 0}  # it repeats itself
    row = spoken.leave("/v1/messages", body, after=after)
    assert (row["status_code"], row["cancelled"]) == (499, True)
    if after is not None:
        assert row["response"]["content"][0]["text"]
        assert 0 < row["completion_tokens"] < 3900
