"""Answers that end in one step of the engine are put together, before any of them has left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import Message

from kodify.app import build_app
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.journal import Entry, Journal
from kodify.journal.spool import SpoolFull
from kodify.settings import Settings

STREAMS = 8
BODY = b'{"model": "scripted", "stream": true, "messages": [{"role": "user", "content": "x"}]}'
PLAIN = Entry(kind="GET /v1/models", request_us=1_790_000_000_000_000, status_code=200)


@pytest.fixture
async def app(settings: Settings, tmp_path: Path) -> AsyncIterator[Starlette]:
    """One that journals, whose database is not asked."""
    on = settings.model_copy(update={"logs": True, "logs_db_host": "embedded", "data_path": str(tmp_path)})
    app = build_app(on, ScriptedEngine(Script(pieces=("piece",) * 20)))
    app.state.ready = True
    app.state.journal.open()
    yield app
    app.state.journal._spool.close()


@pytest.fixture
def journal(app: Starlette) -> Journal:
    found = app.state.journal
    assert isinstance(found, Journal)
    return found


async def ask(app: Starlette, accepted_at_end: list[int]) -> None:
    complete = asyncio.Event()
    requests: list[Message] = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await complete.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message["more_body"]:
            accepted_at_end.append(app.state.journal._metrics.accepted)
            complete.set()

    path = "/v1/chat/completions"
    await app({"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}, receive, send)


def writes_of(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each write to the spool has."""
    found: list[int] = []
    append = journal._spool.append

    def counted(*rows: bytes) -> None:
        append(*rows)
        found.append(len(rows))

    monkeypatch.setattr(journal._spool, "append", counted)
    return found


async def test_one_write_for_all_that_end_together(
    app: Starlette, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, accepted_at_end = writes_of(journal, monkeypatch), list[int]()
    await asyncio.gather(*(ask(app, accepted_at_end) for _ in range(STREAMS)))
    assert sum(writes) == journal._spool.waiting == STREAMS
    assert len(writes) < STREAMS / 2  # the scripted engine's streams have a task each: not all in one turn
    assert len(accepted_at_end) == STREAMS
    assert all(accepted >= number for number, accepted in enumerate(accepted_at_end, 1))


async def test_one_that_fails_costs_no_other(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Entry:
        raise RuntimeError("a bug")

    for finish in (lambda: PLAIN, broken, lambda: PLAIN):
        journal.put_soon(finish)
    with caplog.at_level(logging.ERROR):
        journal.settle()
    assert journal._spool.waiting == journal._metrics.accepted == 2
    assert lost(journal) == {"bug": 1}
    assert "a bug" in caplog.text


async def test_a_spool_without_room_for_all_takes_what_it_can(journal: Journal) -> None:
    journal.put(PLAIN)
    spool = journal._spool
    size = spool.size
    journal.put(PLAIN)
    spool._limit = spool.size + 2 * (spool.size - size)
    for _ in range(5):
        journal.put_soon(lambda: PLAIN)
    journal.settle()
    assert (spool.waiting, lost(journal)) == (4, {"full": 3})
    with pytest.raises(SpoolFull):
        spool.append(b"x" * 1000)


async def test_whoever_does_not_wait_for_a_turn_is_put_by_the_next(journal: Journal) -> None:
    journal.put_soon(lambda: PLAIN)
    assert journal._spool.waiting == 0
    await asyncio.sleep(0)
    assert journal._spool.waiting == 1


def lost(journal: Journal) -> dict[str, float]:
    registry: CollectorRegistry = journal._metrics._registry
    found = {
        sample.labels["reason"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "kodify_journal_lost_total"
    }
    return {reason: value for reason, value in found.items() if value}
