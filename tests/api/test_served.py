"""Dialects that an engine speaks by itself: refusals, failures, leaving and the journal, on a scripted one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
import pytest
from pydantic import SecretStr

from kodify.api.messages import MessagesVoice
from kodify.api.responses import ResponsesVoice
from kodify.api.served import Voice
from kodify.config_file import CensorEntry, ConfigFile
from kodify.engine.base import Dialect, Event, Progress, Screener
from kodify.engine.scripted import ScriptedEngine
from kodify.errors import BadRequestError, EngineFailedError, UnavailableError
from kodify.settings import Settings
from tests.conftest import Serve, Served, eventually, leave, serving
from tests.journal import conftest as journal
from tests.journal.conftest import Place

place = journal.place

BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {"model": "scripted", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"model": "scripted", "input": "hi"},
}
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}


def event(name: str, **fields: Any) -> Event:
    return Event(name, json.dumps({"type": name, **fields}).encode())


STREAMS: dict[str, list[Event]] = {
    "messages": [
        event("message_start", message={"id": "x", "content": [], "usage": {"input_tokens": 3, "output_tokens": 0}}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "He"}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "llo"}),
    ],
    "responses": [
        event("response.created", sequence_number=0, response={"id": "resp_1", "status": "in_progress", "output": []}),
        event("response.in_progress", sequence_number=1, response={"id": "resp_1"}),
        event("response.output_item.added", sequence_number=2, output_index=0, item=ITEM),
        event("response.output_text.delta", sequence_number=3, output_index=0, delta="He"),
        event("response.output_text.delta", sequence_number=4, output_index=0, delta="llo"),
    ],
}


@dataclass
class SpeakingEngine(ScriptedEngine):
    """Tells `count` events, then raises `error`, or goes on for ever without another word."""

    error: Exception | None = None
    count: int = 9
    stopped: int = 0
    waits: bool = False  # told all that it tells, or asked for a whole answer
    asked: list[Dialect] = field(default_factory=list)
    screens_dialects: bool = False

    async def serve(
        self, dialect: Dialect, body: dict[str, Any], progress: Progress, screen: Screener | None = None
    ) -> dict[str, Any] | AsyncGenerator[Event, None]:
        self.asked.append(dialect)
        progress.prompt_tokens = 3
        if body.get("stream"):
            return self._events(dialect, progress)
        await self._end()
        return {}

    async def _events(self, dialect: Dialect, progress: Progress) -> AsyncGenerator[Event, None]:
        for told in STREAMS[dialect][: self.count]:
            await asyncio.sleep(0)
            progress.completion_tokens += told.name.endswith("delta")
            yield told
        await self._end()

    async def _end(self) -> None:
        if self.error is not None:
            raise self.error
        self.waits = True
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise


@contextmanager
def speaking(settings: Settings, **script: Any) -> Iterator[tuple[SpeakingEngine, Served]]:
    engine = SpeakingEngine(**script)
    with serving(settings, engine) as served:
        eventually(lambda: bool(served.app.state.ready))
        yield engine, served


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("early", [0, 1])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequestError("no"), 400),
        (UnavailableError(), 503),
        (EngineFailedError(), 500),
        (ZeroDivisionError("x"), 500),
    ],
    ids=["refused", "unavailable", "failed", "a bug"],
)
def test_what_fails_before_the_first_word_has_a_status(
    settings: Settings, path: str, early: int, error: Exception, status: int
) -> None:
    """Even where the dialect has already begun to say that it has begun."""
    with speaking(settings, error=error, count=early) as (_, served), served.client() as client:
        answer = client.post(path, json={**BODIES[path], "stream": True})
        assert answer.status_code == client.post(path, json=BODIES[path]).status_code == status
        assert answer.headers["content-type"] == "application/json"
        assert ("retry-after" in answer.headers) == (status == 503)
        assert "Division" not in answer.text
        assert answer.json()["code"] == status


def test_what_fails_in_a_stream_is_raised_by_the_official_clients(settings: Settings) -> None:
    with speaking(settings, error=UnavailableError("The engine has stopped.")) as (_, served):
        said = ""
        with anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0) as client:
            with pytest.raises(anthropic.APIStatusError, match="The engine has stopped") as caught:
                for told in client.messages.create(**BODIES["/v1/messages"], stream=True):
                    said += getattr(getattr(told, "delta", None), "text", "")
            body: Any = caught.value.body
            assert (said, body["error"]["type"]) == ("Hello", "overloaded_error")
        said = ""
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as other:
            with pytest.raises(openai.APIError, match="The engine has stopped"):
                for event in other.responses.create(**BODIES["/v1/responses"], stream=True):
                    said += getattr(event, "delta", "")
            assert said == "Hello"


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_work_ends_when_the_client_leaves(settings: Settings, place: Place, path: str, stream: bool) -> None:
    given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    own = settings.model_copy(update={given[name]: value for name, value in place.variables.items()})
    with speaking(own) as (engine, served):
        if stream:
            body = {**BODIES[path], "stream": True}
            with served.client() as client, client.stream("POST", path, json=body) as answer:
                lines = answer.iter_lines()
                assert any("llo" in line for line in lines)
                assert engine.stopped == 0
        else:
            leave(served.url, path, BODIES[path], lambda: engine.waits)
        eventually(lambda: engine.stopped == 1)
        eventually(lambda: place.count() == 1)
        (row,) = place.rows()
        assert (row["status_code"], row["cancelled"], row["model"]) == (499, True, "scripted")
        assert (row["prompt_tokens"], row["completion_tokens"]) == (3, 2 if stream else 0)
        assert ("Hello" in json.dumps(row["response"])) == stream
        with served.client() as client:
            assert "kodify_requests_cancelled_total 1.0" in client.get("/metrics").text


def test_an_entry_that_can_not_be_made_is_counted_and_nothing_else_is_lost(
    settings: Settings, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def assembled(*_: Any) -> dict[str, Any]:
        raise KeyError("usage")

    monkeypatch.setattr(MessagesVoice, "assembled", assembled)
    given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    own = settings.model_copy(update={given[name]: value for name, value in place.variables.items()})
    path = "/v1/messages"
    with speaking(own) as (engine, served):
        with served.client() as client, client.stream("POST", path, json={**BODIES[path], "stream": True}) as answer:
            assert any("llo" in line for line in answer.iter_lines())
        eventually(lambda: engine.stopped == 1)
        with served.client() as client:
            eventually(lambda: 'lost_total{reason="bug"} 1.0' in client.get("/metrics").text)
            # What is measured after the journal's part.
            assert "kodify_completion_tokens_total 2.0" in client.get("/metrics").text


@pytest.mark.parametrize("path", BODIES)
def test_a_failed_streams_entry_has_what_was_said_and_why_it_ended(settings: Settings, place: Place, path: str) -> None:
    given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    own = settings.model_copy(update={given[name]: value for name, value in place.variables.items()})
    with speaking(own, error=EngineFailedError()) as (_, served), served.client() as client:
        answer = client.post(path, json={**BODIES[path], "stream": True})
        assert "event: error" in answer.text
        eventually(lambda: place.count() == 1)
        (row,) = place.rows()
    assert (row["status_code"], row["cancelled"]) == (500, False)
    assert "Hello" in json.dumps(row["response"])
    assert row["response"]["error"]["code"] == 500


def test_refusals_of_the_guard_are_in_anthropics_words(settings: Settings) -> None:
    own = settings.model_copy(update={"vllm_api_key": SecretStr("sesame"), "max_body_bytes": 300})
    with speaking(own) as (engine, served):
        body = BODIES["/v1/messages"]
        for key, sent, status, kind in (
            ("wrong", body, 401, "authentication_error"),
            ("sesame", {**body, "system": "x" * 300}, 413, "request_too_large"),
            ("sesame", {**body, "model": "nobody"}, 404, "not_found_error"),
        ):
            with served.client(**{"x-api-key": key}) as client:
                answer = client.post("/v1/messages", json=sent)
            told = answer.json()
            assert (answer.status_code, told["type"], told["error"]["type"]) == (status, "error", kind)
            assert told["message"] == told["error"]["message"]
            assert answer.headers["content-length"] == str(len(answer.content))
        assert engine.asked == []


def test_an_engine_that_speaks_no_dialect(serve: Serve) -> None:
    with serve().client() as client:
        eventually(lambda: client.get("/ready").status_code == 200)
        for path, body in BODIES.items():
            answer = client.post(path, json=body)
            assert (answer.status_code, answer.json()["param"]) == (404, "model")


def test_nothing_goes_past_a_censor_that_an_engine_does_not_know(settings: Settings) -> None:
    settings._file = ConfigFile(censor=CensorEntry(patterns=["secret"]))
    with speaking(settings) as (engine, served), served.client() as client:
        for path, body in BODIES.items():
            answer = client.post(path, json=body)
            assert (answer.status_code, answer.json()["param"]) == (404, "model")
            assert "censor" in answer.json()["message"]
        assert engine.asked == []


CALLED = [
    event("message_start", message={"id": "x", "content": [], "stop_reason": None, "usage": {"input_tokens": 3}}),
    event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
    event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm"}),
    event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "abc"}),
    event("content_block_stop", index=0),
    event("content_block_start", index=1, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}),
    event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a"'}),
    event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": ": 1}"}),
    event("content_block_stop", index=1),
    event("message_delta", delta={"stop_reason": "tool_use"}, usage={"input_tokens": 3, "output_tokens": 8}),
    event("message_stop"),
]


def test_a_messages_stream_put_together() -> None:
    voice = MessagesVoice()
    whole = voice.assembled(CALLED)
    assert whole["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "abc"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
    ]
    assert (whole["stop_reason"], whole["usage"]) == ("tool_use", {"input_tokens": 3, "output_tokens": 8})
    assert voice.finish_reason(whole, "stop") == "tool_calls"
    cut = voice.assembled(CALLED[:7])
    assert cut["content"][1] == {"type": "tool_use", "id": "t", "name": "f", "input": {}, "partial_json": '{"a"'}
    assert voice.assembled([]) == {}


ODD_MESSAGES = [
    event("message_delta", delta={"stop_reason": "end_turn"}),
    event("message_delta", delta=None, usage=None),
    event("message_delta", delta="no object", usage={"output_tokens": 1}),
    event("content_block_start", index=[], content_block={"type": "text"}),
    event("content_block_start", index=7),
    event("content_block_delta", index=9, delta={"type": "text_delta", "text": "nowhere"}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": 5}),
    event("content_block_delta", index=0, delta={"type": "text_delta"}),
    event("content_block_delta", index=0),
    event("content_block_stop", index=9),
    event("content_block_stop"),
    Event("message_delta", b"[]"),
    Event("message_delta", b"no JSON"),
    event("something_new"),
]
ODD_RESPONSES = [
    event("response.created"),
    event("response.created", response=5),
    event("response.output_item.added", output_index="x", item=ITEM),
    event("response.output_item.added", item=ITEM),
    event("response.output_item.added", output_index=3, item=None),
    event("response.output_text.delta", output_index=9, delta="nowhere"),
    event("response.output_text.delta", output_index=[], delta="nowhere"),
    event("response.output_text.delta", output_index=0, delta=5),
    event("response.output_text.delta"),
    Event("response.output_text.delta", b"no JSON"),
    event("something.new"),
]


@pytest.mark.parametrize("odd", ODD_MESSAGES, ids=str)
def test_an_odd_event_of_a_messages_stream_is_passed_over(odd: Event) -> None:
    """Whatever else was said is kept."""
    told = STREAMS["messages"]
    for position in range(len(told) + 1):
        whole = MessagesVoice().assembled([*told[:position], odd, *told[position:]])
        assert (whole["id"], whole["content"]) == ("x", [{"type": "text", "text": "Hello"}])
        assert whole["usage"]["input_tokens"] == 3
    assert isinstance(MessagesVoice().assembled([odd]), dict)


def test_a_messages_stream_without_what_streams_have() -> None:
    voice = MessagesVoice()
    bare = event("message_start", message={"id": "x"})
    block = event("content_block_start", content_block={"type": "text"})
    said = event("content_block_delta", delta={"type": "text_delta", "text": "Hi"})
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1})
    assert voice.assembled([bare, block, said, end]) == {
        "id": "x",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {"output_tokens": 1},
    }


@pytest.mark.parametrize("odd", ODD_RESPONSES, ids=str)
def test_an_odd_event_of_a_responses_stream_is_passed_over(odd: Event) -> None:
    told = STREAMS["responses"]
    for position in range(len(told) + 1):
        whole = ResponsesVoice().assembled([*told[:position], odd, *told[position:]])
        assert (whole["id"], whole["status"]) == ("resp_1", "incomplete")
        assert whole["output"] == [{**ITEM, "content": [{"type": "output_text", "text": "Hello"}]}]


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_responses_stream_ends_with_its_own_response(status: str) -> None:
    voice = ResponsesVoice()
    told = STREAMS["responses"]
    ended = {"id": "resp_1", "status": status, "error": {"code": "server_error"}, "output": []}
    assert voice.assembled([*told, event(f"response.{status}", response=ended)]) == ended
    whole = voice.assembled([*told, event(f"response.{status}")])
    assert (whole["status"], len(whole["output"])) == (status, 1)


@pytest.mark.parametrize("output", [None, 5, [None], [{}], [{"type": []}]])
def test_the_finish_reason_of_an_odd_response(output: Any) -> None:
    assert ResponsesVoice().finish_reason({"output": output}, "stop") == "stop"


@pytest.mark.parametrize(
    ("item", "kind", "kept"),
    [
        ({"type": "function_call", "arguments": ""}, "response.function_call_arguments.delta", {"arguments": "ab"}),
        ({"type": "custom_tool_call", "input": ""}, "response.custom_tool_call_input.delta", {"input": "ab"}),
        (
            {"type": "reasoning", "content": None},
            "response.reasoning_text.delta",
            {"content": [{"type": "reasoning_text", "text": "ab"}]},
        ),
        (
            {"type": "message", "content": []},
            "response.output_text.delta",
            {"content": [{"type": "output_text", "text": "ab"}]},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_responses_stream_that_was_cut_short(item: dict[str, Any], kind: str, kept: dict[str, Any]) -> None:
    voice = ResponsesVoice()
    events = [
        event("response.created", response={"id": "r", "status": "in_progress"}),
        event("response.output_item.added", output_index=0, item=item),
        event(kind, output_index=0, delta="a"),
        event(kind, output_index=0, delta="b"),
    ]
    whole = voice.assembled(events)
    assert whole == {"id": "r", "status": "incomplete", "output": [{**item, **kept}]}
    called = "call" in item["type"]
    assert voice.finish_reason(whole, "stop") == ("tool_calls" if called else "stop")
    done = {"id": "r", "status": "completed", "output": []}
    assert voice.assembled([*events, event("response.completed", response=done)]) == done


def blocked(voice: Voice, events: list[Event], tokens: int) -> list[Event]:
    """As they are told when what comes of `events` comes after the censor's verdict."""
    progress = Progress(3, tokens, 1.0, "content_filter")
    told = [voice.blocked_event(voice.event(event), progress) for event in events]
    return [event for event in told if event is not None]


def test_a_messages_stream_that_the_censor_ends() -> None:
    voice = MessagesVoice()
    told = [*map(voice.event, CALLED[:7]), *blocked(voice, CALLED[8:], 40)]
    whole = voice.assembled(told)
    assert (whole["stop_reason"], whole["stop_sequence"]) == ("refusal", None)
    assert whole["usage"] == {"input_tokens": 3, "output_tokens": 40}
    assert voice.finish_reason(whole, "content_filter") == "content_filter"
    assert [event.name for event in told[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    answer = voice.blocked(voice.whole({"content": [], "stop_reason": "end_turn"}))
    assert (answer["stop_reason"], voice.finish_reason(answer, None)) == ("refusal", "content_filter")


def item(kind: str, number: int, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": f"{kind}_{number}", "status": "completed", **fields}


@pytest.mark.parametrize(
    ("kind", "pieces", "is_call"),
    [
        ("message", "response.output_text", False),
        ("reasoning", "response.reasoning_text", False),
        ("function_call", "response.function_call_arguments", True),
        ("custom_tool_call", "response.custom_tool_call_input", True),
    ],
)
def test_a_responses_stream_that_the_censor_ends(kind: str, pieces: str, is_call: bool) -> None:
    """A call that came to its end before is told; one that is cut short never comes to its end."""
    voice = ResponsesVoice()
    made, cut = item("function_call", 1, arguments="{}"), item(kind, 2)
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    done = {"id": "r", "status": "completed", "output": [made, cut], "usage": usage}
    before = [
        event("response.created", sequence_number=0, response={"id": "r", "status": "in_progress"}),
        event("response.output_item.done", sequence_number=1, output_index=0, item=made),
        event(f"{pieces}.delta", sequence_number=2, output_index=1, delta="a"),
    ]
    after = [
        event(f"{pieces}.delta", sequence_number=3, output_index=1, delta="b"),
        event(f"{pieces}.done", sequence_number=4, output_index=1),
        event("response.output_item.done", sequence_number=5, output_index=1, item=cut),
        event("response.completed", sequence_number=6, response=done),
    ]
    told = [*map(voice.event, before), *blocked(voice, after, 40)]
    bodies = [json.loads(one.data) for one in told]
    assert [body["sequence_number"] for body in bodies] == list(range(4 if is_call else 7))
    assert [body["type"] for body in bodies] == [one.name for one in told]
    assert told[-1].name == "response.incomplete"
    assert bodies[-1]["response"] == {
        "id": "r",
        "status": "incomplete",
        "incomplete_details": {"reason": "content_filter"},
        "output": [made] if is_call else [made, {**cut, "status": "incomplete"}],
        "usage": {"input_tokens": 3, "output_tokens": 40, "total_tokens": 43},
    }
    assert [body["item"]["status"] for body in bodies if "item" in body] == ["completed", "incomplete"][: 2 - is_call]
    assert voice.assembled(told) == bodies[-1]["response"]
    assert voice.finish_reason(bodies[-1]["response"], "content_filter") == "content_filter"
    assert voice.blocked({"status": "completed"})["incomplete_details"] == {"reason": "content_filter"}
