"""A chat's sockets: what they are told, in which order, and what they may say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kodify.chats import Stream
from kodify.engine.scripted import Script
from kodify.errors import UnavailableError
from kodify.markdown import render
from tests.chats.conftest import Begin, Socket, Talk, units
from tests.conftest import eventually

ENDLESS = Script(endless=True, pause_s=0.01)
SLOW = Script(pieces=("One 🙂 ", "**two**\n\n", "three 🙂🙂\n\n", "four ", "five"), pause_s=0.15)
LATE = replace(SLOW, pause_s=0.6)  # goes on long enough for who comes late
SLOW_TEXT = "".join(SLOW.pieces)


def statuses(events: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(event["status"] for event in events))


def test_every_socket_sees_all(begin: Begin) -> None:
    talk = begin(SLOW)
    with talk.socket() as first, talk.socket() as second:
        told = talk.say("Hi")
        for socket in (first, second):
            events = socket.until("generated")
            assert statuses(events) == ["message", "generating", "delta", "generated"]
            assert (events[0]["message"], events[0]["message_id"]) == ("Hi", told["message_id"])
            assert (events[1]["answer_id"], events[1]["message_id"]) == (told["answer_id"], told["message_id"])
            assert socket.text == events[-1]["message"] == SLOW_TEXT
            assert "html" not in events[-1]
            assert events[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7}
            assert events[-1]["finish_reason"] == "stop"


def test_settled_html_grows_to_the_whole(begin: Begin) -> None:
    talk = begin(SLOW)
    with talk.socket("?render=html") as socket:
        talk.say("Hi")
        events = socket.until("generated")
    settled = [event["settled"] for event in events if "settled" in event]
    assert [one["end"] for one in settled] == [units("One 🙂 **two**\n\n")]
    assert events[-1]["html"] == render(SLOW_TEXT)
    assert events[-1]["html"].startswith(settled[0]["html"])


def test_who_comes_late_gets_it_from_the_beginning(begin: Begin) -> None:
    talk = begin(LATE)
    told = talk.say("Hi")
    with talk.socket() as socket:
        events = socket.until("generated")
    assert events[0]["status"] == "generating"
    assert events[0]["message_id"] == told["message_id"]
    assert socket.text == SLOW_TEXT


def test_who_comes_back_gets_what_is_missing(begin: Begin) -> None:
    talk = begin(ENDLESS)
    told = talk.say("Hi")
    with talk.socket() as before:
        before.until("delta")
    eventually(lambda: len(talk.messages()[-1]["content"]) > len(before.text) + 20)
    with talk.socket(f"?after={told['answer_id']}:{units(before.text)}") as after:
        begun, missing = after.next(), after.next()
        assert begun["status"] == "generating"
        assert (missing["status"], missing["offset"]) == ("delta", units(before.text))
        assert len(missing["message"]) > 20
        talk.ask("POST", "/stop")
        ended = after.until("generated")[-1]
    assert ended["finish_reason"] == "stopped"
    assert ended["message"].startswith(before.text + missing["message"])
    assert ended["message"] == talk.messages()[-1]["content"]


def test_a_place_is_counted_as_browsers_do(begin: Begin) -> None:
    talk = begin(LATE)
    told = talk.say("Hi")
    eventually(lambda: len(talk.messages()[-1]["content"]) > 20)
    place = units("One 🙂 **t")
    with talk.socket(f"?render=html&after={told['answer_id']}:{place}:0") as socket:
        events = socket.until("generated")
    deltas = [event for event in events if event["status"] == "delta"]
    assert deltas[0]["offset"] == place
    assert deltas[0]["message"].startswith("wo**")
    assert deltas[0]["settled"]["html"].startswith("<p>One 🙂 <strong>two</strong></p>")


def test_without_a_word_of_html_none_is_settled(begin: Begin) -> None:
    talk = begin(LATE)
    told = talk.say("Hi")
    with talk.socket(f"?render=html&after={told['answer_id']}:3") as socket:
        events = socket.until("generated")
    assert not any("settled" in event for event in events)
    assert events[-1]["html"] == render(SLOW_TEXT)


def test_an_end_that_was_missed_is_told(begin: Begin) -> None:
    talk = begin()
    told = talk.say("Hi")
    talk.answered()
    with talk.socket(f"?after={told['answer_id']}:3") as socket:
        ended = socket.next()
    assert (ended["status"], ended["message"]) == ("generated", "Hello, world")
    talk.engine.script = Script(error=UnavailableError("Tired."))
    told = talk.say("Hi again")
    talk.answered()
    with talk.socket(f"?after={told['answer_id']}:0") as socket:
        ended = socket.next()
    assert (ended["status"], ended["message"], ended["answer_id"]) == ("error", "Tired.", told["answer_id"])


def test_an_error_is_told_as_it_happens(begin: Begin) -> None:
    talk = begin(Script(pieces=("One ", "two"), error=UnavailableError("Tired.")))
    with talk.socket() as socket:
        talk.say("Hi")
        ended = socket.until("error")[-1]
    assert (ended["message"], ended["code"]) == ("Tired.", 503)
    assert socket.text == "One two"


def test_what_is_dropped_is_told(begin: Begin) -> None:
    talk = begin()
    with talk.socket() as socket:
        first = talk.say("Hi")
        socket.until("generated")
        talk.say(regenerate=True)
        again = socket.until("generated")[0]
        assert (again["message_id"], again["from_id"]) == (first["message_id"], first["answer_id"])
        talk.say("Hello", edit=first["message_id"])
        edited = socket.until("generated")[0]
        assert (edited["message"], edited["from_id"]) == ("Hello", first["message_id"])


def test_a_socket_may_say_and_stop(begin: Begin) -> None:
    talk = begin(ENDLESS)
    with talk.socket() as socket, talk.socket() as other:
        socket.send(type="send", message="Hi")
        socket.until("delta")
        socket.send(type="send", message="Hi again")
        refused = socket.until("error")[-1]
        assert (refused["code"], refused["type"]) == (409, "ConflictError")
        other.until("delta")
        other.send(type="stop")
        assert socket.until("generated")[-1]["finish_reason"] == "stopped"
        socket.send(type="send", regenerate=True)
        socket.until("delta")
        socket.send(type="stop")
        socket.until("generated")
    assert [message["role"] for message in talk.messages()] == ["user", "assistant"]


def test_an_answer_goes_on_when_nobody_listens(begin: Begin) -> None:
    talk = begin(SLOW)
    with talk.socket() as socket:
        socket.send(type="send", message="Hi")
        socket.until("generating")
    talk.answered(content=SLOW_TEXT, status="done")


HOSTILE: list[str | bytes] = [
    "",
    "no JSON",
    "[]",
    "null",
    '"send"',
    "{}",
    '{"type": "other"}',
    '{"type": ["send"]}',
    '{"type": "send"}',
    '{"type": "send", "message": 1}',
    '{"type": "send", "message": "a", "edit": "\\u0000"}',
    '{"type": "send", "action": {"name": "../fix"}}',
    "[" * 100_000,
    '{"type": "send", "message": ' + '{"a":' * 500 + "1" + "}" * 500 + "}",
    b'{"type": "stop"}',
    b"\xff\xfe",
]


def test_hostile_frames_are_refused_one_by_one(begin: Begin) -> None:
    talk = begin()
    with talk.socket() as socket:
        for frame in HOSTILE:
            socket.connection.send(frame)
            refused = socket.next()
            assert refused["status"] == "error", frame
            assert "answer_id" not in refused
            assert refused["code"] in (400, 404)
        socket.send(type="send", message="fine")
        assert socket.until("generated")[-1]["message"] == "Hello, world"


def test_a_message_that_is_too_large_ends_the_socket(begin: Begin) -> None:
    talk = begin(MAX_BODY_BYTES=10_000)
    with talk.socket() as socket:
        socket.connection.send(json.dumps({"type": "send", "message": "x" * 20_000}))
        with pytest.raises(ConnectionClosed) as closed:
            socket.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_deleted_chat_ends_its_sockets(begin: Begin) -> None:
    talk = begin(ENDLESS)
    with talk.socket() as socket:
        talk.say("Hi")
        socket.until("delta")
        talk.ask("DELETE")
        assert close_code(socket) == 4404


def close_code(socket: Socket) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            socket.next()
    assert closed.value.rcvd is not None
    return int(closed.value.rcvd.code)


@pytest.mark.parametrize("after", ["x", ":", "x:1", "00000000-0000-4000-8000-000000000000:-1", "a:1:2:3"])
def test_a_place_that_is_none_is_refused(begin: Begin, after: str) -> None:
    talk = begin()
    with pytest.raises(InvalidStatus) as refused, talk.socket(f"?after={after}"):
        pass
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body)["param"] == "after"


@pytest.mark.parametrize("id", ["00000000-0000-4000-8000-000000000000", "x"])
def test_a_chat_that_is_not_there_has_no_socket(begin: Begin, id: str) -> None:
    talk = begin()
    with pytest.raises(InvalidStatus) as refused, Talk(talk.served, id).socket():
        pass
    response = refused.value.response
    assert response.status_code == 404
    assert json.loads(response.body)["type"] == "NotFoundError"
    assert response.headers["x-request-id"]
    assert response.headers["x-content-type-options"] == "nosniff"


def test_an_answer_of_another_chat_is_none_of_this_one(begin: Begin) -> None:
    talk, other = begin(), begin()
    told = other.say("Hi")
    other.answered()
    with talk.socket(f"?after={told['answer_id']}:0") as socket:
        talk.say("Hello")
        assert socket.next()["message"] == "Hello"


def test_a_chat_has_so_many_sockets(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kodify.chats.chats.MOST_FOLLOWERS", 2)
    talk = begin()
    with talk.socket(), talk.socket():
        with pytest.raises(InvalidStatus) as refused, talk.socket():
            pass
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["retry-after"] == "5"
    eventually(lambda: talk.served.app.state.connections.sockets == 0)
    with talk.socket() as socket:
        talk.say("Hi")
        socket.until("generated")


def test_sockets_are_counted(begin: Begin) -> None:
    talk = begin()
    connections = talk.served.app.state.connections
    with talk.socket(), talk.socket():
        eventually(lambda: connections.sockets == 2)
        with talk.served.client() as client:
            assert "kodify_websockets 2.0" in client.get("/metrics").text
    eventually(lambda: connections.sockets == 0)
    told = 'kodify_requests_total{method="WEBSOCKET",route="/api/v1/chat/{chat_id}/ws",status="101"} 2.0'
    with talk.served.client() as client:
        eventually(lambda: told in client.get("/metrics").text)
    eventually(lambda: connections.open == 0)


def test_a_place_that_an_answer_never_has_costs_it_nothing(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    def watched(stream: Stream) -> str:
        reads.append(stream.length)
        return stream.since(0)

    monkeypatch.setattr(Stream, "text", property(watched))
    talk = begin(Script(endless=True, pause_s=0.001))
    told = talk.say("Hi")
    with talk.socket(f"?after={told['answer_id']}:999999999") as socket:
        answer = talk.served.app.state.chats.answers[UUID(talk.id)]
        eventually(lambda: answer.completion_tokens > 1000)
        written = len(reads)
        talk.ask("POST", "/stop")
        assert socket.until("generated")[-1]["answer_id"] == told["answer_id"]
    assert written < 200  # whole texts, to be written down: not one for each piece
