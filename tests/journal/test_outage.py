"""While PostgreSQL is away, refuses, or is silent, requests go on and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from pydantic import SecretStr

from kodify.db import journal_rows
from kodify.db.database import _passes
from kodify.db.embedded import EmbeddedServer
from kodify.db.journal import JournalWriter
from kodify.db.places import journal_database
from kodify.engine.scripted import ScriptedEngine
from kodify.journal.mover import Mover
from kodify.settings import Settings
from tests.conftest import Serve, Served, eventually, serving
from tests.journal.clients import Clients
from tests.journal.conftest import Place, make_place
from tests.journal.test_spool import left_by_a_crash

REQUESTS, AT_ONCE, OUTAGES = 10_000, 64, 5
CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}


class Postgres:
    """A server that may be stopped in the middle of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = EmbeddedServer(folder)
        self.address = self._server.start()

    def start(self) -> None:
        self._server = EmbeddedServer(self.folder)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def suspend(self) -> list[psutil.Process]:
        postmaster = psutil.Process(int((self.folder / "postmaster.pid").read_text().split()[0]))
        postmaster.suspend()  # first: then there are no new ones
        suspended = [postmaster]
        for process in postmaster.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
                suspended.append(process)
        return suspended


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("own") / "data")
    yield server
    server.stop()


@pytest.fixture
def own_place(own_postgres: Postgres, tmp_path: Path) -> Place:
    return make_place(own_postgres.address, tmp_path)


def start(serve: Callable[..., Served], place: Place, **variables: object) -> Served:
    served = serve(**{**place.variables, **variables})
    eventually(lambda: bool(served.app.state.ready))
    return served


def port(served: Served) -> int:
    return int(served.url.rpartition(":")[2])


def test_no_entry_is_lost_or_doubled_while_postgresql_comes_and_goes(
    serve: Serve, own_postgres: Postgres, own_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(own_postgres.address, autocommit=True) as connection:
        connection.execute("CREATE ROLE writer LOGIN SUPERUSER")
    served = start(serve, own_place, LOGS_DB_USERNAME="writer")
    clients = Clients(port(served))
    mover: Mover = served.app.state.journal._mover

    def trouble() -> None:
        """The server is stopped and started, and once its role may not write, as where the disk is full."""
        for number in range(1, OUTAGES + 2):
            share = number * REQUESTS // (OUTAGES + 2)
            eventually(lambda: len(clients.answered) >= share, 60)  # noqa: B023
            if number == 3:
                _alter(own_postgres, "NOSUPERUSER")
            else:
                own_postgres.stop()
            eventually(lambda: mover.is_held_up)
            begun_in = len(clients.answered)
            eventually(lambda: len(clients.answered) >= begun_in + AT_ONCE)  # noqa: B023
            if number == 3:
                _alter(own_postgres, "SUPERUSER")
            else:
                own_postgres.start()
            eventually(lambda: not mover.is_held_up)

    async def main() -> None:
        await asyncio.gather(clients.run(REQUESTS, AT_ONCE, pause_s=0.07), asyncio.to_thread(trouble))

    asyncio.run(main())
    assert clients.statuses == {200: REQUESTS}
    assert caplog.text.count("the journal's database takes no entries") == OUTAGES + 1
    eventually(lambda: own_place.count() >= REQUESTS, 60)
    found = Counter(row["request_id"] for row in own_place.rows("SELECT request_id FROM journal"))
    assert len(found) == REQUESTS
    assert set(found.values()) == {1}
    with served.client() as client:
        shown = client.get("/metrics").text
    assert f"kodify_journal_accepted_total {REQUESTS}.0" in shown
    assert "kodify_journal_quarantined_total 0.0" in shown
    assert 'kodify_journal_lost_total{reason="full"} 0.0' in shown


def _alter(server: Postgres, right: str) -> None:
    """Also ends the sessions, whose rights are those of their start."""
    with psycopg.connect(server.address, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE writer {right}")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'")


def test_a_server_that_is_not_there_at_the_start(serve: Serve, own_postgres: Postgres, own_place: Place) -> None:
    """Its host answers nothing: the journal waits, requests don't."""
    own_postgres.stop()
    variables = {"LOGS_DB_HOST": "127.0.0.1", "LOGS_DB_PORT": 1}
    served = start(serve, own_place, **variables)
    with served.client() as client:
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
        eventually(lambda: "kodify_journal_waiting_entries 1.0" in client.get("/metrics").text)
        eventually(lambda: _value(client.get("/metrics").text, "kodify_journal_lag_seconds") > 0.3)
    own_postgres.start()


def test_a_silent_server_holds_nobody(serve: Serve, own_postgres: Postgres, own_place: Place) -> None:
    served = start(serve, own_place)
    processes = own_postgres.suspend()
    try:
        clients = Clients(port(served))
        asyncio.run(clients.run(200, 8))
        assert clients.statuses == {200: 200}
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
    eventually(lambda: own_place.count() == 200, 60)


def test_at_its_limit_the_spool_takes_no_more_and_requests_go_on(
    serve: Serve, own_postgres: Postgres, own_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    served = start(serve, own_place, LOGS_SPOOL_BYTES=20_000)
    own_postgres.stop()
    clients = Clients(port(served))
    asyncio.run(clients.run(200, 8))
    assert clients.statuses == {200: 200}
    with served.client() as client:
        shown = client.get("/metrics").text
    waiting, lost = (
        _value(shown, name) for name in ("kodify_journal_waiting_entries", 'kodify_journal_lost_total{reason="full"}')
    )
    assert waiting + lost == 200
    assert min(waiting, lost) > 10
    assert _value(shown, "kodify_journal_spool_alarm") == 1
    assert _value(shown, "kodify_journal_spooled_bytes") <= 20_000
    assert caplog.text.count("entries of the journal are lost") == 1
    own_postgres.start()
    eventually(lambda: own_place.count() == waiting, 30)


def _value(metrics: str, name: str) -> float:
    return float(next(line for line in metrics.splitlines() if line.startswith(name + " ")).split()[-1])


def test_a_busy_server_takes_over_what_was_left_behind(
    serve: Serve, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its own spool is never empty, and the database is far away."""
    left_by_a_crash(Path(str(place.variables["DATA_PATH"])) / "journal", [old_row(number) for number in range(2_000)])
    write = JournalWriter.write

    async def slow(self: JournalWriter, *arguments: Any) -> None:
        await asyncio.sleep(0.02)
        await write(self, *arguments)

    monkeypatch.setattr(JournalWriter, "write", slow)
    served = start(serve, place)
    asyncio.run(Clients(port(served)).run(1_500, 4, pause_s=0.005))
    assert place.count() > 2_000  # while the load was on
    eventually(lambda: place.count() == 3_500)


def old_row(number: int) -> bytes:
    us = 1_795_000_000_000_000 + number
    return journal_rows.encode(
        journal_rows.make_id(us), 4711, us, us, 200, False, 1.0, None, None, None,
        (None, None, "GET /v1/models", None, None, None), (None, None),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("FATAL:  the database system is starting up", True),
        ("ВАЖНО:  система баз данных запускается", True),
        ("FATAL:  sorry, too many clients already", True),
        ('FATAL:  password authentication failed for user "kodify"', False),
        ('ВАЖНО:  пользователь "kodify" не прошёл проверку подлинности', False),
    ],
)
def test_what_passes_does_not_stop_the_start(said: str, passes: bool) -> None:
    assert _passes(psycopg.OperationalError(said)) is passes


def test_a_password_may_have_anything_in_it(settings: Settings) -> None:
    own = settings.model_copy(
        update={
            "logs_db_host": "db",
            "logs_db_port": 5433,
            "logs_db_name": "my journal",
            "logs_db_username": "me@here",
            "logs_db_password": SecretStr("a b'c\\d/e@f%20"),
        }
    )
    database = journal_database(own)
    database._url = database._find_address()
    found = psycopg.conninfo.conninfo_to_dict(database.conninfo)
    assert (found["password"], found["user"], found["dbname"]) == ("a b'c\\d/e@f%20", "me@here", "my journal")
    assert "a b" not in database.shown


def test_the_next_start_takes_what_an_end_without_the_database_left(
    serve: Serve, own_postgres: Postgres, own_place: Place
) -> None:
    settings = start(serve, own_place).app.state.settings
    own_postgres.stop()
    with serving(settings, ScriptedEngine()) as first:
        eventually(lambda: bool(first.app.state.ready))
        asyncio.run(Clients(port(first)).run(50, 4))
    own_postgres.start()
    with serving(settings, ScriptedEngine()):
        eventually(lambda: own_place.count() == 50, 30)
