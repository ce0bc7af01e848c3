"""`kodify journal …`: what administrators and security people ask of it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from kodify.journal import Entry
from kodify.settings import Settings
from tests.conftest import Serve, eventually
from tests.journal.conftest import Place, journaled, place
from tests.unit.test_cli_users import Shell

__all__ = ["journaled", "place"]

NOW = datetime.now(UTC)


@pytest.fixture
def shell(place: Place, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """On a journal with a few days' entries."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(field.alias or "", raising=False)
    monkeypatch.chdir(tmp_path)
    served = serve(**place.variables)
    eventually(lambda: bool(served.app.state.ready))
    for number in range(30):
        age = timedelta(days=number // 10, seconds=number)
        us = int((NOW - age).timestamp() * 1e6)
        entry = Entry(
            kind="GET /v1/models" if number % 10 == 0 else "POST /v1/completions",
            request_us=us,
            response_us=us + 5_000,
            duration_ms=float(number),
            status_code=499 if number == 7 else 500 if number == 8 else 200,
            address="10.0.0.1",
            username=f"user{number % 3}@example.ru",
            request_id=f"request-{number}",
            model="nano" if number % 2 else "coder",
            prompt_tokens=100,
            completion_tokens=10,
            ttft_ms=number * 2.0,
            finish_reason="stop",
            cancelled=number == 7,
            request=json.dumps({"prompt": f'текст, "{number}"\n'}).encode(),
            response=b'{"choices": []}',
        )
        served.app.state.journal.put(entry)
    eventually(lambda: place.count() == 30)
    variables = place.environment
    yield Shell(variables)


def test_tail(shell: Shell) -> None:
    lines = shell.out("journal", "tail", "-n", "3").splitlines()
    assert lines[0].split()[0] == "WHEN"
    assert len(lines) == 4
    assert "GET /v1/models" in lines[-1]  # the newest is the last
    assert "100 → 10" in lines[-1]
    failed = [json.loads(line) for line in shell.out("journal", "tail", "--errors", "--json").splitlines()]
    assert [row["status_code"] for row in failed] == [500, 499]
    own = shell.out("journal", "tail", "--user", "user1@example.ru", "--json").splitlines()
    assert len(own) == 10


def test_follow_shows_what_ends_whenever_it_began(shell: Shell, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def while_waiting(_: float) -> None:
        """A request that began before the newest entry ends now; then whoever looks has enough."""
        if place.rows("SELECT 1 FROM journal WHERE request_id = 'late'"):
            raise KeyboardInterrupt
        place.rows(
            'INSERT INTO journal SELECT gen_random_uuid(), "user", username, type, request, '
            "now() - interval '5 minutes', response, now(), status_code, config_id, 'late', model, 1, 1, 1, 1, 'stop', "
            "false FROM journal LIMIT 1"
        )

    monkeypatch.setattr("kodify.cli_journal.time.sleep", while_waiting)
    monkeypatch.setattr("kodify.cli_journal.FOLLOW_S", 0)
    lines = [json.loads(line) for line in shell.out("journal", "tail", "-n", "2", "-f", "--json").splitlines()]
    assert [row["request_id"] for row in lines] == ["request-1", "request-0", "late"]


def test_show_by_either_id(shell: Shell) -> None:
    row = json.loads(shell.out("journal", "show", "request-8"))
    assert (row["status_code"], row["request"]) == (500, {"prompt": 'текст, "8"\n'})
    assert json.loads(shell.out("journal", "show", row["id"])) == row
    config = json.loads(shell.out("journal", "show", row["id"], "--config"))["config"]
    assert config["LOGS"] == "True"
    missing = shell.run("journal", "show", "nothing")
    assert (missing.exit_code, missing.stderr) == (1, "kodify: The journal has no entry nothing.\n")


def test_export(shell: Shell, tmp_path: Path) -> None:
    found = [json.loads(line) for line in shell.out("journal", "export", "--since", "36h").splitlines()]
    assert len(found) == 20
    assert found == sorted(found, key=lambda row: row["request_dt"])
    text = shell.run("journal", "export", "--since", "36h", "--format", "csv").stdout_bytes.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["request_id"] for row in rows] == [row["request_id"] for row in found]
    assert json.loads(rows[0]["request"]) == found[0]["request"]
    file = tmp_path / "journal.parquet"
    shell.out("journal", "export", "--since", "36h", "--format", "parquet", "-o", str(file))
    table = parquet.read_table(file).to_pylist()
    assert [row["request_id"] for row in table] == [row["request_id"] for row in found]
    assert table[0]["request_dt"].isoformat() == found[0]["request_dt"]
    assert (table[0]["duration_ms"], table[0]["cancelled"]) == (found[0]["duration_ms"], False)
    day = (NOW - timedelta(days=1)).isoformat()
    older = shell.out("journal", "export", "--since", "2020-01-01", "--until", day).splitlines()
    assert len(older) == 20
    wrong = shell.run("journal", "export", "--since", "yesterday")
    assert (wrong.exit_code, "yesterday is no age" in wrong.stderr) == (1, True)
    wrong = shell.run("journal", "export", "--since", "1d", "--format", "xml")
    assert "it must be jsonl, csv, parquet" in wrong.stderr


def test_stats(shell: Shell) -> None:
    found: dict[str, Any] = json.loads(shell.out("journal", "stats", "--since", "10d", "--json"))
    (whole,) = found["all"]
    assert (whole["requests"], whole["errors"], whole["cancelled"], whole["users"]) == (30, 1, 1, 3)
    assert (whole["prompt_tokens"], whole["completion_tokens"]) == (3_000, 300)
    assert whole["duration_p50_ms"] == pytest.approx(14.5)
    assert whole["ttft_p95_ms"] == pytest.approx(2 * 27.55)
    assert sum(row["requests"] for row in found["day"]) == 30
    assert found["day"] == sorted(found["day"], key=lambda row: row["key"])
    assert {row["key"]: row["requests"] for row in found["model"]} == {"nano": 15, "coder": 15}
    assert {row["key"]: row["requests"] for row in found["user"]} == {f"user{n}@example.ru": 10 for n in range(3)}
    assert {row["key"]: row["requests"] for row in found["route"]} == {"POST /v1/completions": 27, "GET /v1/models": 3}
    text = shell.out("journal", "stats", "--by", "route")
    assert "BY ROUTE" in text
    assert "BY DAY" not in text
    assert re.search(r"POST /v1/completions +27 ", text)
    assert "it must be day" in shell.run("journal", "stats", "--by", "hour").stderr


def test_prune(shell: Shell, place: Place) -> None:
    assert shell.out("journal", "prune", "--older-than", "2020-01-01") == "no month is wholly older\n"
    assert shell.out("journal", "prune", "--older-than", "36h", "--content") == "10 entries emptied\n"
    assert sum(row["request"] is None for row in place.rows()) == 10
    following = (NOW.replace(day=28) + timedelta(days=40)).replace(day=1).isoformat()
    assert "dropped: journal_" in shell.out("journal", "prune", "--older-than", following)
    assert place.count() == 0


def test_without_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(field.alias or "", raising=False)
    monkeypatch.chdir(tmp_path)
    for words in (["tail"], ["stats"], ["prune", "--older-than", "1d"]):
        refused = Shell({}).run("journal", *words)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("kodify: There is no journal: set LOGS=True, LOGS_DB_HOST")
    migrate = Shell({}).run("migrate")
    assert "There is nothing to migrate" in migrate.stderr
