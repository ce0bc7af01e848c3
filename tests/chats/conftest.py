"""A client of chats: their requests, and their sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from kodify.engine.scripted import Script, ScriptedEngine
from tests.conftest import Serve, Served, eventually

WAIT_S = 60


@dataclass
class Socket:
    """One that is open; keeps what it was told."""

    connection: ClientConnection
    events: list[dict[str, Any]] = field(default_factory=list)

    def next(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.connection.recv(timeout=WAIT_S))
        assert {"status", "message", "timestamp"} <= set(event)
        self.events.append(event)
        return event

    def until(self, *statuses: str) -> list[dict[str, Any]]:
        """What it is told up to the first of these, that one too."""
        found = [self.next()]
        while found[-1]["status"] not in statuses:
            found.append(self.next())
        return found

    def send(self, **body: Any) -> None:
        self.connection.send(json.dumps(body))

    @property
    def text(self) -> str:
        """Of the answer that is on its way, or was last, as the deltas tell it; none may be missing."""
        text = ""
        for event in self.events:
            if event["status"] == "generating":
                text = ""
            elif event["status"] == "delta":
                assert event["offset"] == units(text)
                text += event["message"]
        return text


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@dataclass
class Talk:
    """One chat, by one replica."""

    served: Served
    id: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/api/v1/chat/{self.id}"

    @property
    def engine(self) -> ScriptedEngine:
        assert isinstance(self.served.engine, ScriptedEngine)
        return self.served.engine

    def ask(self, method: str, what: str = "", **options: Any) -> Any:
        with self.served.client(**self.headers) as client:
            return client.request(method, f"{self.path}{what}", **options)

    def say(self, message: str = "", status: int = 202, **fields: Any) -> dict[str, str]:
        answer = self.ask("POST", "/send_message", json={"message": message, **fields})
        assert answer.status_code == status, answer.text
        found: dict[str, str] = answer.json()
        return found

    def history(self, query: str = "") -> dict[str, Any]:
        answer = self.ask("GET", f"/history{query}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.history()["messages"]
        return found

    def contents(self) -> list[str]:
        return [message["content"] for message in self.messages()]

    def answered(self, **fields: Any) -> dict[str, Any]:
        """The last answer, when it is no longer being made."""
        eventually(lambda: bool(found := self.messages()) and found[-1]["status"] != "generating", WAIT_S)
        last = self.messages()[-1]
        assert {name: last[name] for name in fields} == fields
        return last

    @contextmanager
    def socket(self, query: str = "", **options: Any) -> Iterator[Socket]:
        address = f"{self.served.url.replace('http', 'ws', 1)}{self.path}/ws{query}"
        with connect(address, additional_headers=self.headers, **options) as connection:
            yield Socket(connection)

    def at(self, served: Served) -> Talk:
        """The same chat by another replica."""
        return Talk(served, self.id, self.headers)


def begin_talk(served: Served, headers: dict[str, str] | None = None, **settings: Any) -> Talk:
    eventually(lambda: bool(served.app.state.ready))
    with served.client(**(headers or {})) as client:
        answer = client.post("/api/v1/chat", json=settings)
    assert answer.status_code == 200, answer.text
    return Talk(served, answer.json()["chat_id"], headers or {})


Begin = Callable[..., Talk]


@pytest.fixture
def begin(serve: Serve, chats: dict[str, object]) -> Begin:
    """begin(script, CHAT_HOURS=…): a chat on an app of its own."""

    def start(script: Script | None = None, settings: dict[str, Any] | None = None, **variables: object) -> Talk:
        return begin_talk(serve(script, **chats, **variables), **(settings or {}))

    return start
