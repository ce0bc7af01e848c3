"""OpenAI's responses, through its official client."""

from __future__ import annotations

import json
import uuid
from typing import Any

import openai
import pytest

from tests.integration.conftest import MODEL
from tests.integration.server.conftest import Spoken

ASK: dict[str, Any] = {
    "model": MODEL,
    "input": "Write a Python function `add`.",
    "max_output_tokens": 24,
    "temperature": 0,
}
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"unit": {"type": "string", "enum": ["C", "F"]}, "days": {"type": "integer", "maximum": 9}},
        "required": ["unit", "days"],
        "additionalProperties": False,
    },
}
CALL: dict[str, Any] = {
    **ASK,
    "max_output_tokens": 200,
    "tools": [TOOL],
    "tool_choice": {"type": "function", "name": "get_weather"},
}
TALK: dict[str, Any] = {
    **ASK,
    "instructions": "Be short.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "How warm is it?"}]},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"unit": "C", "days": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "20 C"},
    ],
    "tools": [TOOL],
    "store": False,
}


def identified() -> tuple[str, dict[str, str]]:
    request_id = uuid.uuid4().hex
    return request_id, {"x-request-id": request_id}


def told(response: Any) -> list[tuple[str, str, str]]:
    """Of each item: its type, the tool's name, its text or arguments."""
    found = []
    for item in response.output:
        if item.type == "message":
            found.append(("message", "", "".join(part.text for part in item.content)))
        else:
            found.append((item.type, item.name, item.arguments))
    return found


@pytest.mark.parametrize("body", [ASK, TALK, CALL], ids=["text", "a talk with tools", "a tool's call"])
def test_whole_and_streamed_agree_and_are_journaled(spoken: Spoken, body: dict[str, Any]) -> None:
    whole_id, whole_header = identified()
    streamed_id, streamed_header = identified()
    with spoken.openai() as client:
        whole = client.responses.create(**body, extra_headers=whole_header)
        events: list[Any] = list(client.responses.create(**body, stream=True, extra_headers=streamed_header))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    streamed = events[-1].response
    assert told(streamed) == told(whole)
    said = "".join(event.delta for event in events if event.type.endswith(".delta"))
    assert said == "".join(text for _, _, text in told(streamed))
    assert whole.id.startswith("resp_")
    assert whole.id != streamed.id
    for request_id, response in ((whole_id, whole), (streamed_id, streamed)):
        row = spoken.row(request_id)
        assert (row["type"], row["status_code"], row["cancelled"]) == ("POST /v1/responses", 200, False)
        assert (row["model"], row["request"]["input"]) == (MODEL, body["input"])
        assert row["response"]["id"] == response.id
        assert told(openai.types.responses.Response.model_validate(row["response"])) == told(response)
        usage = response.usage
        assert (row["prompt_tokens"], row["completion_tokens"]) == (usage.input_tokens, usage.output_tokens)
        called = any(kind == "function_call" for kind, _, _ in told(response))
        ended = "length" if response.status == "incomplete" else "tool_calls" if called else "stop"
        assert row["finish_reason"] == ended
    assert spoken.row(whole_id)["ttft_ms"] is None
    assert 0 < spoken.row(streamed_id)["ttft_ms"] < spoken.row(streamed_id)["duration_ms"]


def test_a_tool_is_called_with_what_its_schema_asks_for(spoken: Spoken) -> None:
    with spoken.openai() as client:
        response = client.responses.create(**CALL)
    ((kind, name, arguments),) = told(response)
    assert (kind, name) == ("function_call", "get_weather")
    assert set(json.loads(arguments)) == {"unit", "days"}


def test_an_answer_of_a_given_form(spoken: Spoken) -> None:
    form = {"type": "json_schema", "name": "weather", "schema": TOOL["parameters"], "strict": True}
    with spoken.openai() as client:
        response = client.responses.create(**{**ASK, "max_output_tokens": 100}, text={"format": form})  # type: ignore[call-overload]
    assert set(json.loads(response.output_text)) == {"unit", "days"}


def test_the_id_is_the_servers(spoken: Spoken) -> None:
    with spoken.openai() as client:
        response = client.responses.create(**ASK, extra_body={"request_id": "resp_mine", "priority": -5})
    assert response.id != "resp_mine"


BAD: list[tuple[dict[str, Any], type[openai.APIStatusError], str]] = [
    ({"model": "nobody"}, openai.NotFoundError, 'The model "nobody" does not exist.'),
    ({"input": None}, openai.BadRequestError, "input"),
    ({"input": 5}, openai.BadRequestError, "input"),
    ({"temperature": -1}, openai.BadRequestError, "temperature"),
    ({"tools": [{"type": "unheard_of"}]}, openai.BadRequestError, "tools"),
    ({"input": "word " * 9000}, openai.BadRequestError, "maximum context length"),
    ({"previous_response_id": "resp_1"}, openai.NotFoundError, "resp_1"),
    ({"background": True}, openai.BadRequestError, "background"),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("change", "kind", "words"), BAD, ids=[f"{row[0]!s:.30}" for row in BAD])
def test_what_is_refused_has_the_documented_shape(
    spoken: Spoken, change: dict[str, Any], kind: type[openai.APIStatusError], words: str, streamed: bool
) -> None:
    request_id, header = identified()
    with spoken.client() as client:
        answer = client.post("/v1/responses", json={**ASK, **change, "stream": streamed}, headers=header)
    body = answer.json()
    assert body["object"] == "error"
    assert words in body["message"]
    assert body["error"] == {name: body[name] for name in ("message", "type", "param", "code")}
    with spoken.openai() as sdk, pytest.raises(kind, match=words):
        sdk.responses.create(**{**ASK, **change, "stream": streamed})
    row = spoken.row(request_id)
    assert (row["status_code"], row["response"]) == (answer.status_code, body)


def test_a_wrong_token(spoken: Spoken) -> None:
    with spoken.openai("wrong") as client, pytest.raises(openai.AuthenticationError):
        client.responses.create(**ASK)


@pytest.mark.parametrize("after", ["response.output_text.delta", None], ids=["streamed", "whole"])
def test_the_engine_stops_when_the_client_leaves(spoken: Spoken, after: str | None) -> None:
    body = {**ASK, "max_output_tokens": 3900, "stream": after is not None, "ignore_eos": True}
    row = spoken.leave("/v1/responses", body, after=after)
    assert (row["status_code"], row["cancelled"]) == (499, True)
    if after is not None:
        assert row["response"]["status"] == "incomplete"
        assert row["response"]["output"][0]["content"][0]["text"]
        assert 0 < row["completion_tokens"] < 3900
