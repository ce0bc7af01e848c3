"""The users' tables: made once, checked, taken away; another program's table is left alone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from kodify.db import migrations
from kodify.db.database import Database
from kodify.db.tables import UsersTables, users_tables
from kodify.errors import ConfigError


@pytest.fixture
async def database(postgres: str, tmp_path: Path) -> AsyncIterator[Database]:
    found = Database(postgres, tmp_path)
    await found.open()
    yield found
    await found.close()


@pytest.fixture(params=["{}", "s_{}.people"])
def tables(request: pytest.FixtureRequest) -> UsersTables:
    return users_tables(request.param.format(f"t_{uuid.uuid4().hex[:12]}"))


async def test_up_check_down_up(database: Database, tables: UsersTables) -> None:
    await asyncio.to_thread(migrations.prepare, database, tables, migrate=False)  # a first start makes them
    await asyncio.to_thread(migrations.check, database, tables)
    await asyncio.to_thread(migrations.downgrade, database, tables)
    with database.blocking_connection() as connection:
        left = connection.execute("SELECT to_regclass(%s)", [f'"{tables.schema or "public"}"."{tables.name}"'])
        assert left.fetchone() == (None,)
    await asyncio.to_thread(migrations.prepare, database, tables, migrate=True)
    await asyncio.to_thread(migrations.check, database, tables)


async def test_replicas_that_start_at_once_migrate_once(database: Database, tables: UsersTables) -> None:
    starts = (asyncio.to_thread(migrations.prepare, database, tables, migrate=True) for _ in range(6))
    await asyncio.gather(*starts)
    with database.blocking_connection() as connection:
        place = f'"{tables.schema or "public"}"."{tables.version_table}"'
        assert connection.execute(f"SELECT count(*) FROM {place}").fetchone() == (1,)


async def test_another_programs_table_stops_the_start(database: Database, tables: UsersTables) -> None:
    with database.blocking_connection() as connection:
        if tables.schema:
            connection.execute(f'CREATE SCHEMA "{tables.schema}"')
        connection.execute(f'CREATE TABLE "{tables.schema or "public"}"."{tables.name}" (name text)')
    with pytest.raises(ConfigError, match="exists and is not Kodify's"):
        await asyncio.to_thread(migrations.prepare, database, tables, migrate=True)


async def test_tables_that_are_out_of_date_want_the_migration(database: Database, tables: UsersTables) -> None:
    await asyncio.to_thread(migrations.prepare, database, tables, migrate=True)
    place = f'"{tables.schema or "public"}"."{tables.version_table}"'
    with database.blocking_connection() as connection:
        connection.execute(f"UPDATE {place} SET version_num = '9999'")
    with pytest.raises(ConfigError, match="by a newer Kodify"):
        await asyncio.to_thread(migrations.prepare, database, tables, migrate=False)


async def test_the_audit_only_grows(database: Database, tables: UsersTables) -> None:
    await asyncio.to_thread(migrations.prepare, database, tables, migrate=True)
    place = f'"{tables.schema or "public"}"."{tables.name}_audit"'
    with database.blocking_connection() as connection:
        connection.execute(f"INSERT INTO {place} (actor, act, target) VALUES ('a', 'b', 'c')")
    for statement in (f"UPDATE {place} SET actor = 'x'", f"DELETE FROM {place}", f"TRUNCATE {place}"):
        with (
            pytest.raises(psycopg.errors.RaiseException, match="only grows"),
            database.blocking_connection() as connection,
        ):
            connection.execute(statement)


async def test_a_database_that_is_not_there_is_made(postgres: str, tmp_path: Path) -> None:
    name = f"d_{uuid.uuid4().hex[:12]}"
    there, question, options = postgres.partition("?")
    address = there.rpartition("/")[0] + f"/{name}" + question + options
    database = Database(address, tmp_path)
    await database.open()
    await database.close()
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (name,)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("mysql://a@b/c", "Kodify keeps its users in PostgreSQL"),
        ("no address", "is no address"),
        ("postgresql://kodify:s3cret@127.0.0.1:1/kodify", "can't be reached"),
    ],
)
async def test_an_address_that_leads_nowhere_is_one_sentence(address: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        await Database(address, tmp_path).open()
    assert "s3cret" not in str(caught.value)
