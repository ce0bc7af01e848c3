"""`kodify journal acceptance`: what became of completions, in figures."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kodify.db.acceptance import ViewEvent
from kodify.db.journal import JournalWriter
from kodify.db.places import journal_database
from kodify.settings import Settings
from tests.journal.conftest import Place, place
from tests.unit.test_cli_users import Shell

__all__ = ["place"]

NOW = datetime.now(UTC)


@pytest.fixture
def shell(place: Place, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """On three days' views: of ten a day all are shown, four accepted after 100, 200, 300 and 400 ms, one dismissed."""
    monkeypatch.chdir(tmp_path)
    names = {field.alias: name for name, field in Settings.model_fields.items()}
    own = settings.model_copy(update={names[k]: v for k, v in place.variables.items()})
    events = []
    for number in range(30):
        age, nth = timedelta(days=number // 10, seconds=number), number % 10
        known: dict[str, Any] = {
            "username": f"user{number % 3}@example.ru",
            "language": "python" if nth % 2 else None,
            "model": "nano" if nth < 8 else "coder",
            "characters": 50,
            "lines": 2,
        }
        events.append(ViewEvent(f"cmpl-{number}", 0, "", "view", NOW - age, **known))
        if nth < 4:
            events.append(ViewEvent(f"cmpl-{number}", 0, "", "select", NOW - age, elapsed_ms=100 * (nth + 1), **known))
        elif nth == 4:
            events.append(ViewEvent(f"cmpl-{number}", 0, "", "dismiss", NOW - age, elapsed_ms=9_000, **known))

    async def fill() -> None:
        writer = JournalWriter(journal_database(own), migrate=True)
        await writer.views.write(events)
        await writer.stop()

    asyncio.run(fill())
    variables = place.environment
    yield Shell(variables)


def test_figures(shell: Shell) -> None:
    found: dict[str, Any] = json.loads(shell.out("journal", "acceptance", "--json"))
    assert found["all"] == [
        {
            "key": None,
            "shown": 30,
            "accepted": 12,
            "dismissed": 3,
            "acceptance_rate": 0.4,
            "accepted_after_p50_ms": 250.0,
            "accepted_characters": 600,
            "accepted_lines": 24,
        }
    ]
    assert list(found) == ["since", "until", "all", "day", "language", "model", "user"]
    assert sum(row["shown"] for row in found["day"]) == 30
    assert found["day"] == sorted(found["day"], key=lambda row: row["key"])
    assert {row["key"]: row["accepted"] for row in found["language"]} == {"python": 6, None: 6}
    assert {row["key"]: (row["shown"], row["acceptance_rate"]) for row in found["model"]} == {
        "nano": (24, 0.5),
        "coder": (6, 0.0),
    }
    assert {row["key"]: row["shown"] for row in found["user"]} == {f"user{n}@example.ru": 10 for n in range(3)}


def test_since_and_until(shell: Shell) -> None:
    (whole,) = json.loads(shell.out("journal", "acceptance", "--since", "36h", "--json"))["all"]
    assert whole["shown"] == 20
    until = (NOW - timedelta(hours=36)).isoformat()
    (whole,) = json.loads(shell.out("journal", "acceptance", "--until", until, "--json"))["all"]
    assert whole["shown"] == 10


def test_the_table(shell: Shell) -> None:
    text = shell.out("journal", "acceptance", "--by", "model")
    assert text.splitlines()[0].split() == [
        "ALL", "SHOWN", "ACCEPTED", "DISMISSED", "RATE", "TAKEN", "AFTER", "p50", "CHARACTERS", "LINES",
    ]  # fmt: skip
    assert "BY MODEL" in text
    assert "BY DAY" not in text
    assert re.search(r"^nano +24 +12 +3 +50\.0% +250 ms +600 +24$", text, re.MULTILINE)
    assert re.search(r"^coder +6 +0 +0 +0\.0% +– +0 +0$", text, re.MULTILINE)
    assert "no events" in shell.out("journal", "acceptance", "--since", "2020-01-01", "--until", "2020-01-02")


def test_what_is_wrong_is_said(shell: Shell) -> None:
    wrong = shell.run("journal", "acceptance", "--by", "route")
    assert (wrong.exit_code, wrong.stderr) == (1, "kodify: --by route: it must be day, language, model, user.\n")
    wrong = shell.run("journal", "acceptance", "--since", "yesterday")
    assert (wrong.exit_code, "yesterday is no age" in wrong.stderr) == (1, True)
    missing = Shell({**shell.variables, "LOGS": "", "LOGS_DB_HOST": ""}).run("journal", "acceptance")
    assert (missing.exit_code, "There is no journal" in missing.stderr) == (1, True)


def test_a_journal_from_before_asks_for_its_migration(shell: Shell, place: Place) -> None:
    place.rows("DROP TABLE completion_views")
    missing = shell.run("journal", "acceptance")
    assert (missing.exit_code, "run `kodify migrate`" in missing.stderr) == (1, True)


def test_prune_deletes_older_views(shell: Shell, place: Place) -> None:
    assert shell.out("journal", "prune", "--older-than", "36h", "--content") == "0 entries emptied\n"
    assert shell.out("journal", "prune", "--older-than", "36h") == (
        "no month is wholly older\n10 views of completions deleted\n"
    )
    assert place.rows("SELECT count(*) AS n FROM completion_views") == [{"n": 20}]
    assert shell.out("journal", "prune", "--older-than", "36h") == "no month is wholly older\n"
