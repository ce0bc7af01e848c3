"""What the journal has of code actions."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from kodify.actions import Outcome
from kodify.api import action_answer
from kodify.engine.scripted import Script
from tests.api.test_actions import BODY, FIXED, engine_of
from tests.conftest import eventually
from tests.journal.conftest import Journaled


@pytest.mark.parametrize("stream", [False, True])
def test_the_journal_has_the_text_and_the_diff(journaled: Callable[..., Journaled], stream: bool) -> None:
    found = journaled(Script(pieces=FIXED))
    with found.served.client() as client:
        assert client.post("/v1/actions/fix", json={**BODY, "stream": stream}).status_code == 200
    row = found.only_row()
    assert row["type"] == "POST /v1/actions/{name}"
    assert (row["status_code"], row["model"], row["finish_reason"]) == (200, "scripted", "stop")
    assert row["completion_tokens"] == 3
    told = row["response"]
    assert told["text"] == "".join(FIXED)
    assert told["diff"].startswith("--- a/src/twice.py")
    assert told["action"] == "fix"


def test_the_journal_has_what_there_was_when_the_client_left(journaled: Callable[..., Journaled]) -> None:
    found = journaled(Script(endless=True))
    with (
        found.served.client() as client,
        client.stream("POST", "/v1/actions/explain", json={**BODY, "stream": True}) as answer,
    ):
        lines = answer.iter_lines()
        assert any("on and" in line for line in lines)
    row = found.only_row()
    assert row["status_code"] == 499
    told = row["response"]
    assert told["text"].startswith("on and on")
    eventually(lambda: engine_of(found.served).cancelled == 1)


@pytest.fixture
def slow_outcome(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The outcome takes until the second is set; the first tells that it is being made."""
    begun, go_on = threading.Event(), threading.Event()

    def conclude(*_: object) -> Outcome:
        begun.set()
        assert go_on.wait(30)
        return Outcome()

    monkeypatch.setattr(action_answer, "conclude", conclude)
    yield begun, go_on
    go_on.set()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_while_the_diff_is_made(
    journaled: Callable[..., Journaled], slow_outcome: tuple[threading.Event, threading.Event], stream: bool
) -> None:
    begun, go_on = slow_outcome
    found = journaled(Script(pieces=FIXED))
    body = json.dumps({**BODY, "stream": stream}).encode()
    head = f"POST /v1/actions/fix HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", int(found.served.url.rsplit(":", 1)[1]))) as connection:
        connection.sendall(head + body)
        assert begun.wait(30)
    assert found.only_row()["status_code"] == 499
    go_on.set()
    eventually(lambda: not found.served.app.state.running)
    with found.served.client() as client:
        assert client.get("/ready").json()["running"] == 0
