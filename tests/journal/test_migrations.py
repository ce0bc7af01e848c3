"""The journal's tables: made by who is told to, checked by everybody."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from kodify.db import migrations
from kodify.db.journal import JournalWriter
from kodify.db.journal_tables import SCHEMA
from kodify.db.places import journal_database
from kodify.engine.scripted import ScriptedEngine
from kodify.errors import ConfigError
from kodify.server import serve
from kodify.settings import Settings
from tests.conftest import free_port
from tests.journal.conftest import Place, as_environment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own(place: Place, settings: Settings) -> Settings:
    names = {field.alias: name for name, field in Settings.model_fields.items()}
    return settings.model_copy(update={names[k]: v for k, v in place.variables.items()})


async def test_up_check_down_up(own: Settings) -> None:
    database = journal_database(own)
    await JournalWriter(database, migrate=True).prepare()
    await asyncio.to_thread(migrations.check, database, SCHEMA)
    await asyncio.to_thread(migrations.downgrade, database, SCHEMA)
    with database.blocking_connection() as connection:
        assert (
            connection.execute("SELECT to_regclass('journal'), to_regclass('journal_configs')").fetchone()
            == (None,) * 2
        )
    await JournalWriter(database, migrate=True).prepare()
    await JournalWriter(database, migrate=False).prepare()


async def test_replicas_that_start_at_once_make_database_and_tables_once(own: Settings) -> None:
    writers = [JournalWriter(journal_database(own), migrate=True) for _ in range(6)]
    await asyncio.gather(*(writer.prepare() for writer in writers))
    with journal_database_connection(own) as connection:
        assert connection.execute("SELECT count(*) FROM journal_version").fetchone() == (1,)


def journal_database_connection(own: Settings) -> psycopg.Connection[tuple[object, ...]]:
    database = journal_database(own)
    database.find(make=False)
    return database.blocking_connection()


async def test_without_its_tables_the_start_says_what_to_do(own: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    plain = own.model_copy(update={"run_migrations": False, "port": free_port()})
    assert await serve(plain, ScriptedEngine()) == 1
    assert "does not exist: run `kodify migrate`, or set RUN_MIGRATIONS=1." in capfd.readouterr().err
    journal_database(own).find(make=True)
    assert await serve(plain, ScriptedEngine()) == 1
    told = capfd.readouterr().err
    assert "has no table journal: run `kodify migrate`, or set RUN_MIGRATIONS=1." in told
    assert "Traceback" not in told


async def test_a_wrong_password_stops_the_start(own: Settings, postgres: str) -> None:
    """Where a server answers, its refusal is the configuration's; the embedded one trusts everybody but strangers."""
    wrong = own.model_copy(update={"logs_db_username": "nobody-here", "logs_db_password": SecretStr("s3cret-word")})
    with pytest.raises(ConfigError, match="can't be reached: ") as caught:
        await JournalWriter(journal_database(wrong), migrate=True).prepare()
    assert "s3cret-word" not in str(caught.value)


async def test_a_role_without_rights_is_told_at_the_start(own: Settings, postgres: str) -> None:
    role = f"r_{own.logs_db_name}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'CREATE ROLE "{role}" LOGIN')
    journal_database(own).find(make=True)
    poor = own.model_copy(update={"logs_db_username": role})
    with pytest.raises(ConfigError, match="tables can't be made or read: permission denied"):
        await JournalWriter(journal_database(poor), migrate=True).prepare()
    await JournalWriter(journal_database(own), migrate=True).prepare()
    with journal_database_connection(own) as connection:
        connection.execute(f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}"')
    with pytest.raises(ConfigError, match="may not make the journal's partitions"):
        await JournalWriter(journal_database(poor), migrate=False).prepare()


def test_alembics_own_command_does_it_too(place: Place, users: dict[str, object], tmp_path: Path) -> None:
    variables = as_environment({**place.variables, **users})
    variables.pop("RUN_MIGRATIONS")
    command = [str(Path(sys.executable).with_name("alembic")), "-c", str(ROOT / "migrations" / "alembic.ini")]
    # Two at once, as the init containers of two replicas.
    running = [
        subprocess.Popen([*command, "upgrade", "head"], env={**os.environ, **variables}, cwd=tmp_path) for _ in range(2)
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    assert place.rows("SELECT version_num FROM journal_version") == [{"version_num": "0002"}]
    schema = str(users["USERS_TABLE"]).partition(".")[0]  # the chats' table is in the users' one
    for section in ("users", "chats"):
        subprocess.run(
            [*command, "-n", section, "upgrade", "head"], env={**os.environ, **variables}, cwd=tmp_path, check=True
        )
    with psycopg.connect(variables["DB_URL"]) as connection:
        for table in (users["USERS_TABLE"], f"{schema}.chats"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
