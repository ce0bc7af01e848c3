"""A row that PostgreSQL refuses is mended or set aside; its batch goes on."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from psycopg.rows import dict_row

from kodify import journal_export
from kodify.db import journal_rows
from kodify.db.journal import JournalWriter
from kodify.db.journal_queries import JournalReader
from kodify.db.places import journal_database
from kodify.journal import Entry, Journal
from kodify.journal.quarantine import FILE
from kodify.metrics import JournalMetrics
from kodify.settings import Settings
from tests.journal.conftest import Place

NOW_US = 1_795_000_000_000_000


class Bench:
    def __init__(self, place: Place, settings: Settings, folder: Path) -> None:
        names = {field.alias: name for name, field in Settings.model_fields.items()}
        own = settings.model_copy(update={names[k]: v for k, v in place.variables.items()})
        self.place = place
        self.folder = folder
        self.registry = CollectorRegistry()
        writer = JournalWriter(journal_database(own), migrate=True)
        self.journal = Journal(writer, folder, {"a": "b"}, JournalMetrics(self.registry), limit_bytes=1 << 26)

    def put(self, **fields: Any) -> None:
        plain: dict[str, Any] = {
            "kind": "POST /v1/completions", "request_us": NOW_US, "response_us": NOW_US + 5, "duration_ms": 0.005,
            "status_code": 200,
        }  # fmt: skip
        self.journal.put(Entry(**{**plain, **fields}))

    async def rows(self, *query: str) -> list[dict[str, Any]]:
        """Beside the event loop: the journal's own task may hold the table, and needs the loop to let it go."""
        return await asyncio.to_thread(self.place.rows, *query)

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"kodify_journal_{name}")


@pytest.fixture
async def bench(place: Place, settings: Settings, tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(place, settings, tmp_path / "journal")
    found.journal.open()
    await found.journal.start()
    yield found
    await found.journal.stop()


async def test_a_bad_row_does_not_hold_up_its_batch(bench: Bench) -> None:
    for number in range(300):
        nul = b'{"a":"x\\u0000y\\\\u0000"}'
        bench.put(request_id=f"r{number}", request=nul if number == 137 else b'{"a":"good"}')
    await bench.journal.stop()
    rows = {row["request_id"]: row for row in await bench.rows()}
    assert len(rows) == 300
    assert rows["r137"]["request"] == {"a": "x\ufffdy\\u0000"}
    assert (bench.value("written_total"), bench.value("quarantined_total")) == (300, 0)


async def test_json_that_postgresql_can_not_hold_is_kept_as_text(bench: Bench) -> None:
    deep = b"[" * 30_000 + b"]" * 30_000
    bench.put(request=deep, response=b'{"fine": true}')
    bench.put(request=b"{}")
    await bench.journal.stop()
    kept = [row["request"] for row in await bench.rows()]
    assert sorted(kept, key=str) == sorted([deep.decode(), {}], key=str)
    assert bench.value("mended_total") == 1


@pytest.mark.parametrize(
    "request_body",
    [b"1e9999999", b"[" + b",".join([b"1e131071"] * 9_000) + b"]", b'{"a": "\\ud800"}', b"1" * 5_000, b'{"a":\n1}'],
    ids=["a number too large", "many of them", "half a character", "many digits", "lines"],
)
async def test_json_is_kept_as_it_was_written(bench: Bench, request_body: bytes) -> None:
    bench.put(request=request_body, response=b"{}", request_id="odd")
    await bench.journal.stop()
    assert await bench.rows("SELECT request::text FROM journal") == [{"request": request_body.decode()}]
    with psycopg.connect(bench.place.address, row_factory=dict_row) as connection:
        reader = JournalReader(connection)
        out = io.BytesIO()
        for write in journal_export.FORMATS.values():
            assert write(reader.between(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)), out) == 1
        (row,) = reader.find("odd")
        json.dumps(journal_export.parsed(row))
    assert out.getvalue().split(b"\n")[0].startswith(b'{"id": ')


async def test_a_body_full_of_nuls_holds_up_nothing(bench: Bench) -> None:
    """Linear: quadratic work on these would take the event loop for minutes."""
    bench.put(request=b'{"a":"' + b"\\u0000" * 2_000_000 + b'"}')
    await bench.journal.stop()
    (row,) = await bench.rows("SELECT length(request::text) AS n FROM journal")
    assert row["n"] == 12_000_000 + 8


async def test_a_nul_in_a_name(bench: Bench) -> None:
    bench.put(model="a\0b", username="c\0d", request=b"\0\xff", request_is_json=False)
    await bench.journal.stop()
    (row,) = await bench.rows()
    assert (row["model"], row["username"], row["request"]) == ("a\ufffdb", "c\ufffdd", "\ufffd\ufffd")


async def test_what_can_not_be_mended_is_set_aside(bench: Bench) -> None:
    await bench.rows("ALTER TABLE journal ADD CHECK (status_code <> 418)")
    for number in range(20):
        bench.put(request_id=f"r{number}", status_code=418 if number in (3, 11) else 200, request=b'{"who":"me"}')
    await bench.journal.stop()
    assert len(await bench.rows()) == 18
    lines = [json.loads(line) for line in (bench.folder / FILE).read_text().splitlines()]
    assert [line["entry"]["request_id"] for line in lines] == ["r3", "r11"]
    assert lines[0]["entry"]["request"] == '{"who":"me"}'
    assert lines[0]["entry"]["request_dt"].startswith("2026-11-18T")
    assert "violates check constraint" in lines[0]["reason"]
    assert (bench.value("quarantined_total"), bench.value("written_total")) == (2, 18)
    assert (bench.folder / FILE).stat().st_mode & 0o077 == 0


async def test_a_trigger_that_refuses_some_rows(bench: Bench) -> None:
    await bench.rows(
        """CREATE FUNCTION no_teapots() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.status_code = 418 THEN RAISE EXCEPTION 'a teapot'; END IF; RETURN NEW; END $$"""
    )
    await bench.rows("CREATE TRIGGER teapots BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION no_teapots()")
    for number in range(10):
        bench.put(status_code=418 if number == 5 else 200)
    await bench.journal.stop()
    assert len(await bench.rows()) == 9
    assert "a teapot" in (bench.folder / FILE).read_text()


async def test_rows_whose_configuration_is_lost_are_written(bench: Bench) -> None:
    row = journal_rows.encode(
        journal_rows.make_id(NOW_US), 4711, NOW_US, NOW_US, 200, False, 1.0, None, None, None,
        (None, None, "GET /v1/models", None, None, None), (None, None),
    )  # fmt: skip
    assert journal_rows.config_id(row) == 4711
    await bench.journal._writer.write([row], {})
    (kept,) = await bench.rows()
    assert kept["config_id"] == 4711


async def test_new_rows_among_known_ones(bench: Bench) -> None:
    rows = [
        journal_rows.encode(
            journal_rows.make_id(NOW_US), bench.journal._config.id, NOW_US, NOW_US, 200, False, 1.0, None, None, None,
            (None, None, "GET /v1/models", None, None, None), (None, b'"' + b"x" * 700_000 + b'"'),
        )
        for _ in range(4)
    ]  # fmt: skip
    configs = {bench.journal._config.id: bench.journal._config}
    await bench.journal._writer.write(rows[:2], configs)
    await bench.journal._writer.write(rows, configs)
    assert len(await bench.rows()) == 4


async def test_a_row_is_written_once_however_often_it_is_tried(bench: Bench) -> None:
    row = journal_rows.encode(
        journal_rows.make_id(NOW_US), bench.journal._config.id, NOW_US, NOW_US, 200, False, 1.0, None, None, None,
        (None, None, "GET /v1/models", None, None, None), (None, None),
    )  # fmt: skip
    for _ in range(3):
        await bench.journal._writer.write([row], {bench.journal._config.id: bench.journal._config})
    assert len(await bench.rows()) == 1


async def test_a_partition_or_configuration_that_somebody_dropped_is_made_again(bench: Bench) -> None:
    async def put_and_move() -> None:
        bench.put()
        await bench.journal._mover._move_own()

    await put_and_move()
    await bench.rows("DROP TABLE journal_2026_11")
    await put_and_move()
    await bench.rows("TRUNCATE journal, journal_configs")
    await put_and_move()
    assert len(await bench.rows()) == 1
    assert len(await bench.rows("SELECT * FROM journal_configs")) == 1


async def test_entries_of_other_months_find_their_partitions(bench: Bench) -> None:
    month_us = 31 * 86_400_000_000
    for number in range(5):
        bench.put(request_us=NOW_US - number * month_us, response_us=NOW_US - number * month_us)
    await bench.journal.stop()
    assert len(await bench.rows()) == 5
    found = await bench.rows("SELECT tableoid::regclass::text AS name FROM journal ORDER BY 1")
    names = ["2026_07", "2026_08", "2026_09", "2026_10", "2026_11"]
    assert [row["name"] for row in found] == [f"journal_{name}" for name in names]
