"""Fixtures that several folders use: an app on the scripted engine, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette

from kodify.app import build_app
from kodify.db import database, journal_access, journal_connection, journal_queries
from kodify.db.embedded import EmbeddedServer
from kodify.engine.base import Engine
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.engine.vllm_arguments import MORE_STOPS
from kodify.engines import Engines
from kodify.http_protocol import protocols
from kodify.settings import Settings

os.environ.setdefault(*MORE_STOPS)  # vLLM reads it when it is imported, which some tests do before an engine does


# Below those that the kernel gives to outgoing connections: none of these takes a port between its choice and its use.
PORTS = range(16_000, 32_000)


# A PostgreSQL that shares a crowded machine takes longer to let one in than a company's.
for module in (database, journal_access, journal_connection, journal_queries):
    module.CONNECT_TIMEOUT_S = 10  # type: ignore[attr-defined]

# Folders whose tests start real engines or build packages: they have the machine for themselves.
ALONE = {"integration", "packaging"}


def is_alone(path: Path) -> bool:
    return not ALONE.isdisjoint(path.relative_to(Path(__file__).parent).parts)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """They import the engine, which takes a while: not where they are left out."""
    return True if config.getoption("markexpr") == "not alone" and is_alone(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_alone(item.path):
            item.add_marker("alone")


def free_port() -> int:
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.choice(PORTS)))
            return int(probe.getsockname()[1])


@dataclass
class Served:
    """An app that answers on a port of this machine, in a thread of its own."""

    url: str
    app: Starlette
    engine: Engine
    loop: asyncio.AbstractEventLoop

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)


class QuickToEnd(uvicorn.Server):
    """Sees within a moment that it should end, not within a tenth of a second: there are a thousand of them."""

    async def main_loop(self) -> None:
        while not self.should_exit:
            for _ in range(10):
                if not self.should_exit:
                    await asyncio.sleep(0.01)
            await self.on_tick(0)  # the date of answers


def tell(error: Exception | None) -> None:
    """Why a server does not become ready, where the test's report shows it."""
    if error is not None:
        traceback.print_exception(error)


@contextlib.contextmanager
def serving(settings: Settings, engine: Engine | Engines) -> Iterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    app = build_app(settings, engine, on_settled=tell)
    own = protocols(settings.max_body_bytes)
    config = uvicorn.Config(app, **own, log_config=None, access_log=False, lifespan="on")
    server = QuickToEnd(config)
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve([listener])

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the app did not start")
            thread.join(0.01)
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", app, cast(Engine, engine), loops[0])
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The defaults: nothing of this machine's environment or .env gets in."""
    for field in Settings.model_fields.values():
        if field.alias:
            monkeypatch.delenv(field.alias, raising=False)
    return Settings(_env_file=None, DATA_PATH=str(tmp_path / "kodify-data"))


Serve = Callable[..., Served]


@pytest.fixture
def serve(settings: Settings) -> Iterator[Serve]:
    """serve(script, MAX_N=…): an app on the scripted engine, ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(script: Script | None = None, **variables: object) -> Served:
            given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
            own = settings.model_copy(
                update={given[k]: v for k, v in variables.items()},
            )
            return stack.enter_context(serving(own, ScriptedEngine(script or Script())))

        yield start


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL's address: KODIFY_TEST_DB_URL's, or one that is started here."""
    given = os.environ.get("KODIFY_TEST_DB_URL")
    if given:
        yield given
        return
    server = EmbeddedServer(tmp_path_factory.mktemp("postgres") / "data")
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def users(postgres: str) -> dict[str, object]:
    """The variables of a server with users, in a schema of its own."""
    table = f"t_{uuid.uuid4().hex[:12]}.people"
    return {"MTSAI_AUTH": True, "AUTH_TYPE": "DB", "DB_URL": SecretStr(postgres), "USERS_TABLE": table}


@pytest.fixture
def chats(postgres: str) -> dict[str, object]:
    """The variables of a server whose chats are in a schema of their own."""
    return {"CHATS_DB_URL": SecretStr(postgres), "CHATS_TABLE": f"t_{uuid.uuid4().hex[:12]}.chats"}


def leave(url: str, path: str, body: dict[str, Any], when: Callable[[], bool], **headers: str) -> None:
    """A client that asks for a whole answer and leaves when `when` is so: when the server is at work on it."""
    data = json.dumps(body).encode()
    host, _, port = url.removeprefix("http://").partition(":")
    given = {"host": host, "content-type": "application/json", "content-length": str(len(data)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
        eventually(when)


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Waits for what happens on the server's side; fails when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
