"""A library on an embedder that knows words, in a folder of its own; an app with one, and people who use it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodify.auth.administration import Actor
from kodify.config_file import ConfigFile, RetrievalEntry
from kodify.engine.scripted import ScriptedEngine, WordEmbedder
from kodify.engines import Engines, Served
from kodify.retrieval.library import Library
from kodify.retrieval.store import Store
from kodify.settings import Settings
from tests import conftest
from tests.conftest import eventually

ENTRY = {
    "collections": {
        "open": {"title": "For everyone"},
        "closed": {"users": ["reader@example.ru"]},
        "grouped": {"groups": ["staff"]},
    },
    "groups": {"staff": ["Other@example.ru"]},
}
Start = Callable[..., conftest.Served]
People = tuple[conftest.Served, dict[str, httpx.Client]]


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
async def library(tmp_path: Path, embedder: WordEmbedder) -> AsyncIterator[Library]:
    found = Library(RetrievalEntry(), Store(None, None, tmp_path / "qdrant"), lambda model: embedder)
    yield found
    await found.close()


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """start(retrieval, MTSAI_AUTH=…): an app that generates and embeds."""
    with contextlib.ExitStack() as stack:

        def serve(entry: dict[str, Any] | None = None, **variables: object) -> conftest.Served:
            given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
            own = settings.model_copy(update={given[k]: v for k, v in variables.items()})
            own._file = ConfigFile.model_validate({"retrieval": entry or {}})
            engines = Engines([Served(ScriptedEngine()), Served(WordEmbedder(), task="embed")])
            served = stack.enter_context(conftest.serving(own, engines))
            eventually(lambda: bool(served.app.state.ready))
            return served

        yield serve


@pytest.fixture
def people(start: Start, users: dict[str, object]) -> Iterator[People]:
    served = start(ENTRY, **users)
    clients = {}

    async def make(name: str, privileged: bool) -> str:
        found = served.app.state.administration
        assert found is not None
        _, token = await found.create(Actor("test"), f"{name}@example.ru", None, 9, privileged=privileged)
        return str(token)

    with contextlib.ExitStack() as stack:
        for name in ("admin", "reader", "other"):
            token = asyncio.run_coroutine_threadsafe(make(name, name == "admin"), served.loop).result(30)
            clients[name] = stack.enter_context(served.client(authorization=f"Bearer {token}"))
        yield served, clients


def token_of(client: httpx.Client) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


def fill(served: conftest.Served, name: str, documents: dict[str, str]) -> None:
    async def work() -> None:
        library = served.app.state.library
        await library.make(name)
        for path, text in documents.items():
            await library.put(name, path, text.encode())

    asyncio.run_coroutine_threadsafe(work(), served.loop).result(30)
