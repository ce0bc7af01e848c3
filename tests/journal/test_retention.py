"""Old months go whole, contents before their rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kodify.journal import Journal
from tests.conftest import eventually
from tests.journal.conftest import Journaled, Place

Start = Callable[..., Journaled]
NOW = datetime.now(UTC)


def put(journal: Journaled, *ages_days: float) -> None:
    from kodify.journal import Entry

    own: Journal = journal.served.app.state.journal
    for number, age in enumerate(ages_days):
        us = int((NOW - timedelta(days=age)).timestamp() * 1e6)
        own.put(
            Entry(
                kind="POST /v1/completions",
                request_us=us,
                response_us=us,
                duration_ms=1.0,
                status_code=200,
                request_id=f"r{number}",
                request=b'{"prompt": "x"}',
                response=b'{"text": "y"}',
            )
        )
    eventually(lambda: journal.place.count() >= len(ages_days))


def keep_up(journal: Journaled) -> None:
    import asyncio

    own: Any = journal.served.app.state.journal
    asyncio.run_coroutine_threadsafe(own._writer.upkeep(*own._days), journal.served.loop).result(30)


def partitions(place: Place) -> list[str]:
    found = place.rows("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'journal'::regclass")
    return sorted(row["name"] for row in found if "ix_" not in row["name"])


def test_whole_months_are_dropped(journaled: Start) -> None:
    journal = journaled(LOGS_RETENTION_DAYS=70)
    put(journal, 0, 10, 150, 400)
    assert len(partitions(journal.place)) >= 4
    keep_up(journal)
    ages = [NOW - row["request_dt"] for row in journal.place.rows()]
    assert [round(age.total_seconds() / 86_400) for age in ages] == [10, 0]
    following = (NOW.replace(day=1) + timedelta(days=32)).strftime("journal_%Y_%m")
    assert following in partitions(journal.place)  # the next month is ready


def test_contents_go_before_their_rows(journaled: Start) -> None:
    journal = journaled(LOGS_CONTENT_DAYS=30)
    put(journal, 0, 29, 31, 90)
    keep_up(journal)
    kept = {row["request_id"]: row["request"] is not None for row in journal.place.rows()}
    assert kept == {"r0": True, "r1": True, "r2": False, "r3": False}
    assert all((row["response"] is None) == (row["request"] is None) for row in journal.place.rows())


@pytest.mark.parametrize("setting", [{}, {"LOGS_CONTENT_DAYS": 1000, "LOGS_RETENTION_DAYS": 1000}])
def test_nothing_goes_that_need_not(journaled: Start, setting: dict[str, int]) -> None:
    journal = journaled(**setting)
    put(journal, 0, 200, 500)
    keep_up(journal)
    assert [row["request"] is not None for row in journal.place.rows()] == [True] * 3
