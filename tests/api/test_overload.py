"""More requests than the engine has room for: they wait in line, and are refused early where too many do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from kodify.engine.scripted import Script, ScriptedEngine
from kodify.engines import Engines, Served
from kodify.errors import UnavailableError
from kodify.settings import Settings
from tests import conftest
from tests.conftest import eventually, leave

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION = {"language": "python", "segments": {"prefix": "x = ", "filepath": "a.py"}}


class Full:
    """An app whose engine runs two at once, and never ends them by itself; two may wait."""

    def __init__(self, served: conftest.Served, engine: ScriptedEngine, stack: ExitStack) -> None:
        self.served = served
        self.engine = engine
        self._stack = stack

    def stream(self) -> ExitStack:
        """A running stream; closing leaves it."""
        own = self._stack.enter_context(ExitStack())
        client = own.enter_context(self.served.client())
        answer = own.enter_context(client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}))
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        own.callback(lambda: lines)  # held: the client leaves when it is let go
        return own

    def metric(self, name: str) -> float:
        with self.served.client() as client:
            found = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def wait_for(self, count: int) -> None:
        eventually(lambda: self.metric("kodify_line_waiting{") == count)

    def end_all(self) -> None:
        """Every answer that is on its way, of those that wait too."""

        def end() -> None:
            for answer in list(self.served.app.state.running):
                answer.cut(UnavailableError())

        self.served.loop.call_soon_threadsafe(end)

    def later(
        self, path: str, body: dict[str, Any], address: str = "127.0.0.1"
    ) -> tuple[threading.Thread, list[httpx.Response]]:
        """Users without names are told apart by their addresses."""
        answers: list[httpx.Response] = []

        def ask() -> None:
            transport = httpx.HTTPTransport(local_address=address)
            with httpx.Client(base_url=self.served.url, transport=transport, timeout=30) as client:
                answers.append(client.post(path, json=body))

        thread = threading.Thread(target=ask)
        thread.start()
        return thread, answers


@pytest.fixture
def full(settings: Settings) -> Iterator[Callable[..., Full]]:
    with ExitStack() as stack:

        def start(room: int = 2, waiting: int = 2, **script: Any) -> Full:
            engine = ScriptedEngine(Script(**{"endless": True, "pause_s": 0.01, **script}), most_running=room)
            engines = Engines([Served(engine, "scripted")], most_waiting=waiting)
            served = stack.enter_context(conftest.serving(settings, engines))
            eventually(lambda: bool(served.app.state.ready))
            return Full(served, engine, stack)

        yield start


def test_what_waits_runs_when_another_has_ended(full: Callable[..., Full]) -> None:
    app = full()
    first = app.stream()
    app.stream()
    thread, answers = app.later("/v1/chat/completions", {**CHAT, "stream": True})
    app.wait_for(1)
    assert len(app.engine.jobs) == 2
    first.close()
    app.wait_for(0)
    eventually(lambda: len(app.engine.jobs) == 3)
    app.end_all()
    thread.join(30)
    assert answers[0].status_code == 200


def test_beyond_the_bound_it_is_refused_at_once(full: Callable[..., Full]) -> None:
    app = full(waiting=1)
    app.stream(), app.stream()
    thread, _ = app.later("/v1/chat/completions", CHAT)
    app.wait_for(1)
    with app.served.client() as client:
        for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", {"model": "scripted", "prompt": "x"})):
            refused = client.post(path, json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert refused.json()["message"] == "The server has too many requests waiting. Please try again later"
        refused = client.post("/v1/completions", json=COMPLETION)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert app.metric('kodify_line_refused_total{kind="chat"') == 2
    assert app.metric('kodify_line_refused_total{kind="completion"') == 1
    assert len(app.engine.jobs) == 2
    app.end_all()
    thread.join(30)


def test_who_leaves_while_waiting_gives_the_place_back(full: Callable[..., Full]) -> None:
    app = full(waiting=1)
    app.stream(), app.stream()
    leave(app.served.url, "/v1/chat/completions", CHAT, lambda: app.metric("kodify_line_waiting{") == 1)
    app.wait_for(0)
    assert len(app.engine.jobs) == 2
    assert app.metric("kodify_line_running{") == 2


def test_a_chat_takes_the_place_of_a_completion_that_waits(full: Callable[..., Full]) -> None:
    app = full(waiting=1)
    app.stream(), app.stream()
    completion, refused = app.later("/v1/completions", COMPLETION)
    app.wait_for(1)
    chat, _ = app.later("/v1/chat/completions", CHAT, address="127.0.0.2")
    completion.join(30)
    assert (refused[0].status_code, refused[0].headers["retry-after"]) == (503, "1")
    app.wait_for(1)
    app.end_all()
    chat.join(30)


def test_another_user_is_not_held_up_by_one_who_fills_the_engine(full: Callable[..., Full]) -> None:
    app = full(room=8, waiting=20)
    for _ in range(7):
        app.stream()
    waiting = [app.later("/v1/chat/completions", CHAT) for _ in range(10)]
    app.wait_for(10)
    with app.served.client() as client:
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 503  # half of the line is theirs
    other, _ = app.later("/v1/chat/completions", CHAT, address="127.0.0.2")
    eventually(lambda: len(app.engine.jobs) == 8)
    assert app.metric("kodify_line_waiting{") == 10
    app.end_all()
    for thread, _ in waiting:
        app.end_all()
        thread.join(30)
    other.join(30)


def test_a_completion_past_its_deadline_does_not_wait_on(full: Callable[..., Full]) -> None:
    app = full(waiting=4)
    app.stream(), app.stream()
    with app.served.client() as client:
        answer = client.post("/v1/completions", json={**COMPLETION, "deadline_ms": 100})
    assert answer.status_code in (200, 503)
    app.wait_for(0)
    assert len(app.engine.jobs) == 2


def test_many_at_once_all_get_their_answers(full: Callable[..., Full]) -> None:
    app = full(room=4, waiting=1000, endless=False, pause_s=0)

    def ask(number: int) -> str:
        with app.served.client() as client:
            body = {**CHAT, "stream": bool(number % 2)}
            answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        if number % 2:
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
            return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
        return str(answer.json()["choices"][0]["message"]["content"])

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(ask, range(300))) == {"Hello, world"}
    assert app.metric("kodify_line_running{") == app.metric("kodify_line_waiting{") == 0
