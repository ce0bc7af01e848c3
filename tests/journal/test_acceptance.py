"""What became of completions: one row for each view, whatever the order of its events and however often they come."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import msgspec
import pytest
from alembic import command
from prometheus_client import CollectorRegistry

from kodify.db import migrations
from kodify.db.acceptance import PRUNED_ROWS, ViewEvent
from kodify.db.journal import JournalWriter
from kodify.db.journal_tables import SCHEMA
from kodify.db.places import journal_database
from kodify.errors import ConfigError
from kodify.journal import Acceptance, Completion, Event, Journal, build, build_acceptance
from kodify.journal.event_store import MOST_WAITING
from kodify.metrics import MOST_NAMES, CompletionMetrics, Metrics
from kodify.settings import Settings
from tests.conftest import eventually
from tests.journal.conftest import Place
from tests.journal.test_outage import Postgres, own_place, own_postgres

__all__ = ["own_place", "own_postgres"]

ROWS = "SELECT * FROM completion_views ORDER BY completion_id, choice_index, view_id"
NOW = datetime.now(UTC)
PYTHON = Completion("ann@example.ru", "python", "coder", 42, 3)


@dataclass
class Opened:
    acceptance: Acceptance
    journal: Journal
    metrics: Metrics

    def shown(self) -> dict[str, float]:
        """The metrics that are about completions."""
        lines = [line.rpartition(" ") for line in self.metrics.render().decode().splitlines()]
        return {name: float(value) for name, _, value in lines if re.match(r"kodify_completion.*_total\b", name)}


Open = Callable[[Place], contextlib.AbstractAsyncContextManager[Opened]]


@pytest.fixture
def opened(settings: Settings) -> Iterator[Open]:
    """opened(place): a journal that writes all that waits at the block's end."""

    @contextlib.asynccontextmanager
    async def opened(place: Place) -> AsyncIterator[Opened]:
        metrics = Metrics()
        journal = build(with_variables(settings, place), metrics)
        assert journal is not None
        journal.open()
        try:
            await journal.start()
            yield Opened(build_acceptance(metrics, journal), journal, metrics)
        finally:
            await journal.stop()

    yield opened


def with_variables(settings: Settings, place: Place) -> Settings:
    names = {field.alias: name for name, field in Settings.model_fields.items()}
    return settings.model_copy(update={names[k]: v for k, v in place.variables.items()})


@contextlib.asynccontextmanager
async def writing(settings: Settings, place: Place) -> AsyncIterator[JournalWriter]:
    writer = JournalWriter(journal_database(with_variables(settings, place)), migrate=True)
    try:
        await writer.prepare()
        yield writer
    finally:
        await writer.stop()


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition, 30)


def view_events(completion_id: str) -> list[ViewEvent]:
    """All that becomes of one view: a line of it is accepted, then the whole, and the rest dismissed."""
    known: dict[str, Any] = {"language": "go", "model": "coder", "characters": 10, "lines": 2}

    def event(kind: Any, second: int, **values: Any) -> ViewEvent:
        return ViewEvent(completion_id, 0, "v", kind, NOW + timedelta(seconds=second), **values)

    return [
        event("view", 1, **known),
        event("select", 2, username="ann", elapsed_ms=900, select_kind="line", **known),
        event("select", 3, username="ann", elapsed_ms=1_000, select_kind="block"),  # as a replica that knows less says
        event("dismiss", 4, elapsed_ms=1_500),
    ]


EXPECTED = {
    "choice_index": 0,
    "view_id": "v",
    "username": "ann",
    "language": "go",
    "model": "coder",
    "shown_at": NOW + timedelta(seconds=1),
    "accepted_at": NOW + timedelta(seconds=2),
    "dismissed_at": NOW + timedelta(seconds=4),
    "elapsed_ms": 1_500,
    "select_kind": "block",
    "characters": 10,
    "lines": 2,
    "seen_at": NOW + timedelta(seconds=1),
}


async def test_the_order_of_events_changes_nothing(settings: Settings, place: Place) -> None:
    async with writing(settings, place) as writer:
        for number, order in enumerate(permutations(range(4))):
            one_by_one, together = view_events(f"one-{number:02}"), view_events(f"together-{number:02}")
            for index in order:
                await writer.views.write([one_by_one[index]])
            await writer.views.write([together[index] for index in order])
            await writer.views.write([one_by_one[order[0]], together[order[1]]])  # and what is there comes again
    rows = place.rows(ROWS)
    assert len(rows) == 48
    for row in rows:
        assert {name: value for name, value in row.items() if name != "completion_id"} == EXPECTED


async def test_a_row_for_each_view(opened: Open, place: Place) -> None:
    async with opened(place) as own:
        own.acceptance.remember("cmpl-1", [PYTHON, Completion("ann@example.ru", "python", "coder", 7, 1)])
        for choice, view in ((0, "a"), (0, "b"), (0, None), (1, "a"), (2, "a")):
            own.acceptance.take(
                Event(type="view", completion_id="cmpl-1", choice_index=choice, view_id=view), "ann@example.ru"
            )
        own.acceptance.take(
            Event(type="select", completion_id="cmpl-1", view_id="b", elapsed=700.4, select_kind="line"),
            "bob@example.ru",
        )
    rows = place.rows(ROWS)
    assert [(row["choice_index"], row["view_id"], row["characters"], row["lines"]) for row in rows] == [
        (0, "", 42, 3),
        (0, "a", 42, 3),
        (0, "b", 42, 3),
        (1, "a", 7, 1),
        (2, "a", None, None),  # an answer had no such choice
    ]
    assert {(row["username"], row["language"], row["model"]) for row in rows if row["view_id"] != "b"} == {
        ("ann@example.ru", "python", "coder")
    }
    accepted = rows[2]
    assert (accepted["elapsed_ms"], accepted["select_kind"], accepted["dismissed_at"]) == (700, "line", None)
    assert accepted["shown_at"] <= accepted["accepted_at"]
    assert [row["accepted_at"] is not None for row in rows] == [False, False, True, False, False]


async def test_a_replay_changes_neither_row_nor_metric(opened: Open, place: Place) -> None:
    events = [
        Event(type="view", completion_id="cmpl-1", view_id="v"),
        Event(type="dismiss", completion_id="cmpl-1", view_id="v", elapsed=300),
    ]
    async with opened(place) as own:
        own.acceptance.remember("cmpl-1", [PYTHON])
        for event in events:
            own.acceptance.take(event, "ann@example.ru")
        await until(lambda: len(place.rows(ROWS)) == 1 and place.rows(ROWS)[0]["dismissed_at"] is not None)
        (before,) = place.rows(ROWS)
        for event in reversed(events):
            own.acceptance.take(event, "ann@example.ru")
        counted = own.shown()
    assert place.rows(ROWS) == [before]
    labels = '{language="python",model="coder"}'
    assert {name.removesuffix(labels): value for name, value in counted.items() if name.endswith(labels)} == {
        "kodify_completions_answered_total": 1,
        "kodify_completions_shown_total": 1,
        "kodify_completions_dismissed_total": 1,
    }


async def test_events_of_an_unknown_completion_are_kept(opened: Open, place: Place) -> None:
    async with opened(place) as own:
        own.acceptance.take(Event(type="select", completion_id="cmpl-elsewhere", elapsed=5), "ann@example.ru")
        assert own.shown()['kodify_completions_accepted_total{language="unknown",model="unknown"}'] == 1
    (row,) = place.rows(ROWS)
    assert (row["username"], row["language"], row["model"], row["lines"]) == ("ann@example.ru", None, None, None)
    assert row["seen_at"] == row["accepted_at"]


async def test_an_event_counts_for_who_sends_it(opened: Open, place: Place) -> None:
    async with opened(place) as own:
        own.acceptance.remember("cmpl-1", [PYTHON])
        own.acceptance.take(Event(type="view", completion_id="cmpl-1"), "bob@example.ru")
    assert [(row["username"], row["language"]) for row in place.rows(ROWS)] == [("bob@example.ru", "python")]


async def test_what_postgresql_can_not_hold_is_mended(
    opened: Open, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(place) as own:
        for completion_id, elapsed, choice in (("a\0", 1e300, 1 << 80), ("b" * 5_000, -5, -7), ("c\ud800", 3.9, 0)):
            own.acceptance.take(
                Event(type="dismiss", completion_id=completion_id, choice_index=choice, elapsed=elapsed), "ann\0"
            )
        own.acceptance.take(Event(type="select", completion_id="d", select_kind="word\0"), None)
    rows = place.rows(ROWS)
    assert [(row["completion_id"], row["choice_index"], row["elapsed_ms"]) for row in rows] == [
        ("a\ufffd", 2**31 - 1, 2**31 - 1),
        ("b" * 256, 0, 0),
        ("c?", 0, 3),
        ("d", 0, None),
    ]
    assert rows[3]["select_kind"] is None
    assert "lost" not in caplog.text


async def test_one_refused_event_costs_only_itself(
    opened: Open, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(place) as own:
        await asyncio.to_thread(place.rows, "ALTER TABLE completion_views ADD CHECK (completion_id <> 'cmpl-7')")
        for number in range(20):
            own.acceptance.take(Event(type="view", completion_id=f"cmpl-{number}"), None)
        await until(lambda: len(place.rows(ROWS)) == 19)
        assert own.shown()["kodify_completion_events_dropped_total"] == 1
    assert caplog.text.count("PostgreSQL refuses an event of a completion") == 1


async def test_an_outage_loses_no_event(
    opened: Open, own_postgres: Postgres, own_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """One before the start, whose end makes the tables, and one in between."""
    own_postgres.stop()
    async with opened(own_place) as own:
        for outage in range(2):
            if outage:
                await asyncio.to_thread(own_postgres.stop)
            for number in range(700):
                own.acceptance.take(Event(type="view", completion_id=f"cmpl-{outage}-{number}"), None)
            await until(lambda: own.journal.events.is_held_up)
            await asyncio.to_thread(own_postgres.start)
            await until(lambda: not own.journal.events.is_held_up)
            await until(lambda: own.journal.events.waiting == 0)
        assert own.shown()["kodify_completion_events_dropped_total"] == 0
    assert len(own_place.rows(ROWS)) == 1_400
    assert caplog.text.count("takes no events of completions, they wait in memory") == 2


async def test_an_end_without_the_database_is_bounded_and_told(
    opened: Open,
    own_postgres: Postgres,
    own_place: Place,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kodify.journal.event_store.DRAIN_S", 0.2)
    async with opened(own_place) as own:
        await asyncio.to_thread(own_postgres.stop)
        for number in range(3):
            own.acceptance.take(Event(type="view", completion_id=f"cmpl-{number}"), None)
    assert "3 events of completions are lost" in caplog.text
    assert own.shown()["kodify_completion_events_dropped_total"] == 3
    own_postgres.start()
    assert own_place.rows(ROWS) == []


async def test_beyond_what_memory_keeps_the_oldest_are_dropped_and_counted(settings: Settings, place: Place) -> None:
    metrics = Metrics()
    journal = build(with_variables(settings, place), metrics)
    assert journal is not None
    journal.open()
    own = Opened(build_acceptance(metrics, journal), journal, metrics)
    for number in range(MOST_WAITING + 3):
        own.acceptance.take(Event(type="view", completion_id=f"cmpl-{number:05}"), None)
    assert own.journal.events.waiting == MOST_WAITING
    assert own.shown()["kodify_completion_events_dropped_total"] == 3
    await own.journal.start()
    await own.journal.stop()
    rows = place.rows(ROWS)
    assert (rows[0]["completion_id"], len(rows)) == ("cmpl-00003", MOST_WAITING)


async def test_older_views_go_with_the_journals_months(settings: Settings, place: Place) -> None:
    async with writing(settings, place) as writer:
        old = [ViewEvent(f"old-{n}", 0, "", "view", NOW - timedelta(days=71)) for n in range(PRUNED_ROWS + 10)]
        young = [ViewEvent(f"young-{n}", 0, "", "view", NOW - timedelta(days=69)) for n in range(10)]
        await writer.views.write([*old, *young])
        await writer.upkeep(None, 1)
        assert len(place.rows(ROWS)) == len(old) + len(young)
        await writer.upkeep(70, None)
        assert {row["completion_id"] for row in place.rows(ROWS)} == {event.completion_id for event in young}
        assert await writer.delete_views_before(NOW) == 10
    assert place.rows(ROWS) == []


async def test_a_journal_from_before_is_brought_up_to_date(settings: Settings, place: Place) -> None:
    database = journal_database(with_variables(settings, place))
    database.find(make=True)
    with migrations.locked(database, SCHEMA) as connection:
        command.upgrade(migrations._config(connection, SCHEMA), "0001")
        connection.commit()
    place.rows("INSERT INTO journal_configs (id, digest, settings) VALUES (1, 'x', '{}')")
    with pytest.raises(ConfigError, match="out of date: run `kodify migrate`, or set RUN_MIGRATIONS=1"):
        await JournalWriter(database, migrate=False).prepare()
    writer = JournalWriter(database, migrate=True)
    await writer.prepare()
    await asyncio.to_thread(migrations.check, database, SCHEMA)
    await writer.views.write(view_events("cmpl-1"))
    await writer.stop()
    assert [row["id"] for row in place.rows("SELECT id FROM journal_configs")] == [1]
    assert len(place.rows(ROWS)) == 1


def test_without_a_journal_events_are_counted() -> None:
    metrics = Metrics()
    acceptance = build_acceptance(metrics, None)
    acceptance.remember("cmpl-1", [PYTHON])
    for kind in ("view", "select", "dismiss"):
        acceptance.take(msgspec.convert({"type": kind, "completion_id": "cmpl-1"}, Event), None)
    shown = metrics.render().decode()
    for name in ("answered", "shown", "accepted", "dismissed"):
        assert f'kodify_completions_{name}_total{{language="python",model="coder"}} 1.0' in shown
    assert "kodify_completion_events_dropped_total 0.0" in shown


def test_the_oldest_completions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kodify.journal.acceptance.MOST_REMEMBERED", 3)
    metrics = Metrics()
    acceptance = build_acceptance(metrics, None)
    for number in range(5):
        acceptance.remember(f"cmpl-{number}", [PYTHON])
    for number in range(5):
        acceptance.take(Event(type="view", completion_id=f"cmpl-{number}"), None)
    shown = metrics.render().decode()
    assert 'kodify_completions_shown_total{language="python",model="coder"} 3.0' in shown
    assert 'kodify_completions_shown_total{language="unknown",model="unknown"} 2.0' in shown


def test_made_up_names_make_few_series() -> None:
    registry = CollectorRegistry()
    metrics = CompletionMetrics(registry)
    for number in range(3 * MOST_NAMES):
        metrics.count("shown", f"Lang{number}", f"model-{number}")
    metrics.count("shown", "no language\n", "model-0")
    metrics.count("shown", "C++", None)
    found = {
        (sample.labels["language"], sample.labels["model"]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "kodify_completions_shown_total"
    }
    assert len(found) == MOST_NAMES + 3
    assert found[("lang0", "model-0")] == 1
    assert found[("other", "other")] == 2 * MOST_NAMES
    assert found[("other", "model-0")] == 1
    assert found[("other", "unknown")] == 1  # the hundred were there first


def test_languages_are_counted_by_the_name_that_is_given_to_them() -> None:
    metrics = Metrics()
    acceptance = build_acceptance(metrics, None, {"golang": "go"}.__getitem__)
    acceptance.remember("cmpl-1", [Completion(None, "golang", "coder", 1, 1)])
    assert 'kodify_completions_answered_total{language="go",model="coder"} 1.0' in metrics.render().decode()


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        (b'{"type":"view","completion_id":"cmpl-1","choice_index":0,"view_id":"v","elapsed":100}', True),
        (b'{"type":"select","completion_id":"cmpl-1","elapsed":1.5,"select_kind":"block","more":1}', True),
        (b'{"type":"dismiss","completion_id":"cmpl-1","view_id":null,"select_kind":null}', True),
        (b'{"type":"applaud","completion_id":"cmpl-1"}', False),
        (b'{"type":"view"}', False),
    ],
)
def test_what_an_event_may_look_like(body: bytes, fits: bool) -> None:
    with contextlib.nullcontext() if fits else pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Event)
