"""Dialects of other servers: handed on as they come, told as failures where they break off."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from kodify.engine import upstream_asking
from kodify.engine.base import Dialect, Progress
from kodify.engine.upstream import UpstreamEngine
from kodify.engine.upstream_pool import UpstreamOptions
from kodify.settings import Settings
from tests.api import test_upstreams
from tests.api.test_upstreams import Front, Puppet, Start, upstream_metrics
from tests.conftest import eventually, leave
from tests.journal import conftest as journal
from tests.journal.conftest import Place

puppet = test_upstreams.puppet
front = test_upstreams.front
place = journal.place

Told = dict[str, Any]

PATHS: dict[Dialect, str] = {"messages": "/v1/messages", "responses": "/v1/responses"}
BODIES: dict[Dialect, Told] = {
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "top_k": 3},
    "responses": {"model": "m", "input": "hi", "extra": {"deep": [1, None]}},
}
MESSAGE: Told = {
    "id": "msg_there",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5},
}
ITEM: Told = {"id": "i", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
RESPONSE: Told = {
    "id": "resp_there",
    "object": "response",
    "status": "completed",
    "output": [ITEM],
    "usage": {"input_tokens": 8, "output_tokens": 4, "total_tokens": 12},
}
WHOLE: dict[Dialect, Told] = {"messages": MESSAGE, "responses": RESPONSE}
EARLY = 2  # events before the first words
STREAMS: dict[Dialect, tuple[Told, ...]] = {
    "messages": (
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ),
    "responses": (
        {"type": "response.created", "response": {"id": "resp_there", "status": "in_progress", "output": []}},
        {"type": "response.in_progress", "response": {"id": "resp_there"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "content": []}},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Hel"},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "lo"},
        {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
        {"type": "response.completed", "response": RESPONSE},
    ),
}
BOTH = pytest.mark.parametrize("dialect", list(PATHS))


def speaking(start: Start, dialect: Dialect) -> Puppet:
    made = start(*STREAMS[dialect])
    made.whole = WHOLE[dialect]
    return made


def told(answer: str) -> list[Told]:
    """The data of a stream's events, whose names are their types."""
    found = []
    for frame in answer.split("\n\n"):
        if frame:
            name, data = frame.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
    return found


def plain(found: Told) -> Told:
    """Without the id, which is this server's for messages."""
    if "message" in found and "id" in found["message"]:
        return {**found, "message": {**found["message"], "id": ""}}
    return {**found, "id": ""} if found["type"] == "message" else found


@BOTH
def test_a_whole_answer(puppet: Start, front: Front, dialect: Dialect) -> None:
    other = speaking(puppet, dialect)
    with front(UpstreamOptions(other.url, api_key="secret")).client(authorization="Bearer mine") as client:
        answer = client.post(PATHS[dialect], json=BODIES[dialect], headers={"x-api-key": "mine"})
    found, expected = answer.json(), dict(WHOLE[dialect])
    if dialect == "messages":
        assert found.pop("id") != expected.pop("id")
        assert found.pop("stop_sequence") is None
    assert found == expected
    assert (other.paths, other.bodies) == ([PATHS[dialect]], [BODIES[dialect]])
    (headers,) = other.headers
    assert headers["authorization"] == "Bearer secret"
    assert headers.get("x-api-key") == ("secret" if dialect == "messages" else None)


@BOTH
def test_events_come_while_the_upstream_holds_the_rest(puppet: Start, front: Front, dialect: Dialect) -> None:
    other = speaking(puppet, dialect)
    other.held = EARLY + 2
    with (
        front(other).client() as client,
        client.stream("POST", PATHS[dialect], json={**BODIES[dialect], "stream": True}) as answer,
    ):
        lines = answer.iter_lines()
        read = ""
        for line in lines:
            read += line + "\n"
            if "Hel" in line:
                break
        assert other.running == 1
        other.go_on.set()
        read += "".join(line + "\n" for line in lines)
    assert [plain(one) for one in told(read)] == [plain(one) for one in STREAMS[dialect]]


OTHERS: list[tuple[str, Told, Told]] = [
    ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "hi"}]}, {"input_tokens": 5}),
    ("/tokenize", {"prompt": "hi", "add_special_tokens": False}, {"count": 1, "max_model_len": 9, "tokens": [7]}),
    ("/detokenize", {"tokens": [7]}, {"prompt": "hi"}),
]


@pytest.mark.parametrize("model", ["m", "", None])
@pytest.mark.parametrize(("path", "body", "answer"), OTHERS)
def test_tokens(puppet: Start, front: Front, path: str, body: Told, answer: Told, model: str | None) -> None:
    other = puppet()
    other.whole = answer
    with front(other).client() as client:
        assert client.post(path, json=body if model is None else {**body, "model": model}).json() == answer
    assert (other.paths, other.bodies) == ([path], [{**body, "model": "m"}])


PROGRESS: list[tuple[Dialect, Told, str]] = [
    ("messages", {}, "stop"),
    ("messages", {"stop_reason": "max_tokens"}, "length"),
    ("messages", {"stop_reason": "tool_use"}, "tool_calls"),
    ("responses", {}, "stop"),
    ("responses", {"status": "incomplete"}, "length"),
    ("responses", {"output": [{"type": "function_call"}]}, "tool_calls"),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("dialect", "ended", "reason"), PROGRESS)
async def test_progress(puppet: Start, dialect: Dialect, ended: Told, reason: str, stream: bool) -> None:
    *rest, last = STREAMS[dialect]
    if dialect == "messages":
        rest[-1] = {**rest[-1], "delta": {**rest[-1]["delta"], **ended}}
    else:
        last = {**last, "response": {**RESPONSE, **ended}}
    other = puppet(*rest, last)
    other.whole = {**WHOLE[dialect], **ended}
    engine = UpstreamEngine([UpstreamOptions(other.url)])
    await engine.start()
    progress = Progress()
    answer = await engine.serve(dialect, {**BODIES[dialect], "stream": stream}, progress)
    if isinstance(answer, AsyncGenerator):
        async for event in answer:
            assert progress.first_at > 0, event
    assert (progress.prompt_tokens, progress.completion_tokens, progress.finish_reason) == (8, 4, reason)
    assert progress.first_at > 0
    assert engine.running() == 0
    await engine.stop()


@pytest.mark.parametrize("stream", [True, False])
@BOTH
def test_a_client_that_leaves_stops_the_upstream(puppet: Start, front: Front, dialect: Dialect, stream: bool) -> None:
    other = speaking(puppet, dialect)
    other.held = EARLY + 2 if stream else 0
    served = front(other)
    if stream:
        body = {**BODIES[dialect], "stream": True}
        with served.client() as client, client.stream("POST", PATHS[dialect], json=body) as answer:
            assert any("Hel" in line for line in answer.iter_lines())
    else:
        leave(served.url, PATHS[dialect], BODIES[dialect], lambda: other.running == 1)
    eventually(lambda: other.left == 1)
    eventually(lambda: served.engine.running() == 0)


@BOTH
def test_an_upstream_that_dies_amid_a_stream(puppet: Start, front: Front, dialect: Dialect) -> None:
    first, second = speaking(puppet, dialect), speaking(puppet, dialect)
    first.held = EARLY + 2
    body = {**BODIES[dialect], "stream": True}
    with front(first, second).client() as client:
        with client.stream("POST", PATHS[dialect], json=body) as answer:
            lines = answer.iter_lines()
            assert any("Hel" in line for line in lines)
            first.die()
            name, data = [line for line in lines if line][-2:]
        assert name == "event: error"
        error = json.loads(data.removeprefix("data: "))
        assert (error["type"], error["error"]["code"]) == ("error", 503)
        assert "has stopped" in error["error"]["message"]
        assert told(client.post(PATHS[dialect], json=body).text)[-1] == STREAMS[dialect][-1]
        assert len(second.bodies) == 1
        assert upstream_metrics(client, "kodify_upstream_up") == {first.url: 0, second.url: 1}
        assert upstream_metrics(client, "kodify_upstream_failures_total")[first.url] == 1


@pytest.mark.parametrize("stream", [True, False])
@BOTH
def test_what_has_told_nothing_is_begun_again(puppet: Start, front: Front, dialect: Dialect, stream: bool) -> None:
    first, second = speaking(puppet, dialect), speaking(puppet, dialect)
    first.held = EARLY if stream else 0
    with front(first, second).client() as client, ThreadPoolExecutor() as threads:
        waiting = threads.submit(client.post, PATHS[dialect], json={**BODIES[dialect], "stream": stream})
        eventually(lambda: first.running == 1)
        first.die()
        answer = waiting.result(30)
    if stream:
        assert [plain(one) for one in told(answer.text)] == [plain(one) for one in STREAMS[dialect]]
    else:
        assert answer.json().items() >= {**WHOLE[dialect], "id": answer.json()["id"]}.items()


@BOTH
async def test_an_answer_ends_with_its_last_event(
    puppet: Start, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the body may come later; the upstream is not cut off before."""
    monkeypatch.setattr(upstream_asking, "LINGER_S", 600)
    other = puppet(*STREAMS[dialect], {"type": "ping"})
    other.held = len(STREAMS[dialect])
    engine = UpstreamEngine([UpstreamOptions(other.url)])
    await engine.start()
    answer = await engine.serve(dialect, {**BODIES[dialect], "stream": True}, Progress())
    assert isinstance(answer, AsyncGenerator)
    assert len([event async for event in answer]) == len(STREAMS[dialect])
    assert (other.running, engine.running(), len(engine.pool.lingering)) == (1, 0, 1)
    other.go_on.set()
    await asyncio.gather(*engine.pool.lingering)
    assert engine.pool.lingering == set()
    await engine.stop()
    await asyncio.to_thread(eventually, lambda: other.running == 0)
    assert other.left == 0


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "too long"])
async def test_a_body_that_does_not_end(puppet: Start, monkeypatch: pytest.MonkeyPatch, stopped: bool) -> None:
    monkeypatch.setattr(upstream_asking, "LINGER_S", 600 if stopped else 0.01)
    other = puppet(*STREAMS["messages"], {"type": "ping"})
    other.held = len(STREAMS["messages"])
    engine = UpstreamEngine([UpstreamOptions(other.url)])
    await engine.start()
    answer = await engine.serve("messages", {**BODIES["messages"], "stream": True}, Progress())
    assert isinstance(answer, AsyncGenerator)
    async for _ in answer:
        pass
    if stopped:
        await engine.stop()
    await asyncio.to_thread(eventually, lambda: other.left == 1)
    assert engine.pool.lingering == set()
    await engine.stop()


@BOTH
def test_a_client_that_closes_at_the_last_event_has_not_left(
    puppet: Start, front: Front, place: Place, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_asking, "LINGER_S", 600)
    other = puppet(*STREAMS[dialect], {"type": "ping"})
    other.held = len(STREAMS[dialect])
    given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    variables = {given[name]: value for name, value in place.variables.items()}
    with front(other, **variables).client() as client:
        with client.stream("POST", PATHS[dialect], json={**BODIES[dialect], "stream": True}) as answer:
            assert any(STREAMS[dialect][-1]["type"] in line for line in answer.iter_lines())
        eventually(lambda: place.count() == 1)
        assert other.running == 1
    (row,) = place.rows()
    assert (row["status_code"], row["cancelled"], row["finish_reason"]) == (200, False, "stop")
    assert "Hello" in json.dumps(row["response"])


def test_a_response_that_failed_is_journaled_as_that(puppet: Start, front: Front, place: Place) -> None:
    failed = {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "no"}, "output": []}
    other = puppet(*STREAMS["responses"][:-1], {"type": "response.failed", "response": failed})
    given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    variables = {given[name]: value for name, value in place.variables.items()}
    with front(other, **variables).client() as client:
        client.post("/v1/responses", json={**BODIES["responses"], "stream": True})
        eventually(lambda: place.count() == 1)
    (row,) = place.rows()
    assert (row["response"], row["finish_reason"]) == (failed, None)


@pytest.mark.parametrize("amid", [True, False], ids=["amid a stream", "at once"])
@BOTH
def test_what_an_upstream_says_of_a_failure_is_not_logged(
    puppet: Start, front: Front, dialect: Dialect, amid: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers repeat a part of the request in it."""
    error = {"type": "api_error", "code": "the canary sang", "message": "can't read: the canary sang"}
    last = {"type": "error", "error": error}
    other = puppet(*STREAMS[dialect][: EARLY + 2], last)
    if not amid:
        other.refusal = lambda: JSONResponse(last, 500)
    with front(other).client() as client, caplog.at_level(logging.DEBUG, "kodify"):
        assert "canary" not in client.post(PATHS[dialect], json={**BODIES[dialect], "stream": True}).text
    assert "answered 500: api_error" in caplog.text
    assert "canary" not in caplog.text


PRIORITIES = [(-5, 0), (0, 0), (7, 7), (10**6, 10**6), (2**63 - 1, 10**6), (None, None)]


@pytest.mark.parametrize(("asked", "sent"), PRIORITIES)
@BOTH
def test_a_client_chooses_no_id_and_does_not_go_first(
    puppet: Start, front: Front, dialect: Dialect, asked: int | None, sent: int | None
) -> None:
    other = speaking(puppet, dialect)
    kept = {"store": False, "previous_response_id": "resp_0"}
    with front(other).client() as client:
        asked_for = {**BODIES[dialect], **kept, "request_id": "another's", "priority": asked}
        answer = client.post(PATHS[dialect], content=json.dumps(asked_for))
    assert answer.status_code == 200
    assert other.bodies == [{**BODIES[dialect], **kept, "priority": sent}]


BROKEN: list[tuple[Told | None, int]] = [
    (None, 503),  # an end before the end
    ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, 503),
    ({"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}}, 400),
    ({"type": "error", "error": {"type": "internal_error", "message": "a trace"}}, 500),
    ({"type": "error", "code": "server_error", "message": "a trace", "param": None}, 500),
    ({"type": "error", "error": {"code": 503, "message": "gone"}}, 503),
]


@pytest.mark.parametrize(("last", "code"), BROKEN)
@BOTH
def test_a_stream_that_breaks_off(puppet: Start, front: Front, dialect: Dialect, last: Told | None, code: int) -> None:
    other = puppet(*STREAMS[dialect][: EARLY + 2], *([] if last is None else [last]))
    with front(other).client() as client:
        found = told(client.post(PATHS[dialect], json={**BODIES[dialect], "stream": True}).text)
    assert (found[-1]["type"], found[-1]["error"]["code"]) == ("error", code)
    assert [plain(one) for one in found[:-1]] == [plain(one) for one in STREAMS[dialect][: EARLY + 2]]
    assert "a trace" not in str(found)


REFUSALS: list[tuple[int, Told, int, str]] = [
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}, 400, "too long"),
    (400, {"error": {"message": "too long", "param": "input", "code": 400}}, 400, "too long"),
    (
        404,
        {"type": "error", "error": {"type": "NotFoundError", "message": "The model `m` is gone"}},
        404,
        "`m` is gone",
    ),
    (404, {"error": {"message": "It is gone", "param": "model"}}, 404, "It is gone"),
    (404, {"detail": "Not Found"}, 404, 'The model "m" is not served at '),
    (404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, 404, "is not served at "),
    (405, {"detail": "Method Not Allowed"}, 404, "is not served at "),
    (501, {"error": {"message": "The model does not support this API"}}, 404, "is not served at "),
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}, 429, "slow down"),
    (500, {"type": "error", "error": {"type": "api_error", "message": "a trace"}}, 500, "The engine failed"),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, 503, "was unable to complete"),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("status", "body", "answered", "message"), REFUSALS)
@BOTH
def test_what_an_upstream_refuses(
    puppet: Start, front: Front, dialect: Dialect, status: int, body: Told, answered: int, message: str, stream: bool
) -> None:
    other = puppet()
    other.refusal = lambda: JSONResponse(body, status)
    with front(other).client() as client:
        answer = client.post(PATHS[dialect], json={**BODIES[dialect], "stream": stream})
        left_out = status == 529
        assert upstream_metrics(client, "kodify_upstream_up")[other.url] == int(not left_out)
    found = answer.json()["error"]
    assert (answer.status_code, found["code"]) == (answered, answered)
    assert message in found["message"]
    if "not served" in message:
        assert found["message"].endswith(f"at {PATHS[dialect]}.")


def test_a_route_that_one_of_many_has(puppet: Start, front: Front) -> None:
    """Those without it cost no tries."""
    others = [speaking(puppet, "messages") for _ in range(5)]
    for other in others[:4]:
        other.refusal = lambda: Response(status_code=404)
    with front(*others).client() as client:
        assert client.post("/v1/messages", json=BODIES["messages"]).json()["content"] == MESSAGE["content"]


BAD: list[tuple[Dialect, Told, int, str]] = [
    ("messages", {"model": "other"}, 404, "model"),
    ("responses", {"model": "other"}, 404, "model"),
    ("messages", {"model": 5}, 400, "model"),
    ("messages", {"stream": "yes"}, 400, "stream"),
    ("responses", {"background": True}, 400, "background"),
    ("messages", {"priority": "-5"}, 400, "priority"),
    ("responses", {"priority": -5.0}, 400, "priority"),
]


@pytest.mark.parametrize(("dialect", "fields", "status", "param"), BAD)
def test_what_is_refused_here(
    puppet: Start, front: Front, dialect: Dialect, fields: Told, status: int, param: str
) -> None:
    other = speaking(puppet, dialect)
    with front(other).client() as client:
        answer = client.post(PATHS[dialect], json={**BODIES[dialect], **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert other.bodies == []


@pytest.mark.parametrize("content", [b"no JSON", b"[]", b'{"usage": 5, "content": []}'])
def test_what_can_not_be_read_is_an_error(puppet: Start, front: Front, content: bytes) -> None:
    other = puppet()
    other.refusal = lambda: Response(content)
    with front(other).client() as client:
        assert client.post("/v1/messages", json=BODIES["messages"]).status_code == 500
        assert client.post("/v1/messages", json={**BODIES["messages"], "stream": True}).status_code == 503
