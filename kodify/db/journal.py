"""The journal's PostgreSQL as its writer sees it: rows in batches, a partition for each month, old months dropped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg
import sqlalchemy.exc
from psycopg import sql
from psycopg.types.json import Jsonb

from kodify.db import acceptance, journal_rows, migrations
from kodify.db.acceptance import ViewWriter
from kodify.db.database import Database, UnreachableError
from kodify.db.journal_connection import OwnConnection, RowsRefused, reason, refuse, unavailable
from kodify.db.journal_tables import SCHEMA
from kodify.errors import ConfigError, UnavailableError

__all__ = ["Config", "JournalWriter", "RowsRefused", "partition_name"]

log = logging.getLogger(__name__)

Result = TypeVar("Result")
COPY_BYTES = 256 * 1024
LOCK_TIMEOUT = "lock_timeout = '5s'"  # who reads for long must not stop those who write
UPKEEP_LOCK = 0x6B6F6469  # one replica at a time

_STAGING = "CREATE TEMP TABLE IF NOT EXISTS journal_staging (LIKE journal) ON COMMIT DELETE ROWS"
_COLUMNS = ", ".join(f'"{name}"' for name in journal_rows.COLUMNS)
_COPY = f"COPY journal ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()
_COPY_STAGING = f"COPY journal_staging ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()
_INSERT = f"INSERT INTO journal ({_COLUMNS}) SELECT {_COLUMNS} FROM journal_staging ON CONFLICT DO NOTHING".encode()
_RIGHTS = (
    "SELECT current_setting('server_encoding'), pg_has_role(relowner, 'USAGE') "
    "AND has_schema_privilege(relnamespace, 'CREATE') FROM pg_class WHERE oid = 'journal'::regclass"
)
_PARTITIONS = (
    "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
    "WHERE inhparent = 'journal'::regclass ORDER BY child.relname"
)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that rows refer to by its id."""

    id: int
    digest: bytes
    settings: dict[str, Any]


class JournalWriter:
    """One connection of its own. Every method raises UnavailableError where the database can't take rows now."""

    def __init__(self, database: Database, *, migrate: bool) -> None:
        self._database = database
        self._migrate = migrate
        self._prepared = False
        self._preparing = asyncio.Lock()
        self._connection = OwnConnection(database)
        self.views = ViewWriter(database, self.make_sure_it_is_prepared)
        self._months: set[tuple[int, int]] = set()
        self._configs: set[int] = set()

    @property
    def shown(self) -> str:
        return self._database.shown

    async def prepare(self) -> None:
        """Migrates, or looks whether the tables are as they should be.

        Raises ConfigError with what to mend, UnavailableError where nothing answers at the database's address.
        """
        try:
            await asyncio.to_thread(self._prepare)
        except UnreachableError as error:
            if not error.passes and await asyncio.to_thread(self._database.server_listens):
                raise
            raise UnavailableError(error.message) from None
        except sqlalchemy.exc.DBAPIError as error:
            why = reason(error.orig or error)
            if isinstance(error, (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)):
                raise UnavailableError(why) from None
            raise ConfigError(f"The journal's tables can't be made or read: {why}.") from None
        except Exception as error:
            unavailable(error)
        self._prepared = True

    async def make_sure_it_is_prepared(self) -> None:
        """Where the database was away at the start. Raises UnavailableError, whatever is wrong."""
        if self._prepared:
            return
        async with self._preparing:
            if not self._prepared:
                try:
                    await self.prepare()
                except ConfigError as error:
                    raise UnavailableError(error.message) from None

    def _prepare(self) -> None:
        self._database.find(make=self._migrate)
        migrations.prepare(self._database, SCHEMA, migrate=self._migrate)
        with self._database.blocking_connection() as connection:
            row = connection.execute(_RIGHTS).fetchone()
        assert row is not None
        encoding, may_make_partitions = row
        if encoding != "UTF8":
            raise ConfigError(f"The journal's database ({SCHEMA.setting}) is in {encoding}: make one in UTF8.")
        if not may_make_partitions:
            raise ConfigError(
                "LOGS_DB_USERNAME may not make the journal's partitions: make it the owner of the table journal, with "
                "CREATE on its schema."
            )

    async def write(self, rows: Sequence[bytes], configs: Mapping[int, Config]) -> None:
        """All of them or none; those that are there already stay. Raises RowsRefused."""
        await self.make_sure_it_is_prepared()
        try:
            await self._try(rows, configs)
        except psycopg.errors.IntegrityError:  # somebody may have dropped a partition or a configuration: once more
            self._months, self._configs = set(), set()
            try:
                await self._try(rows, {**_unknown(rows), **configs})
            except Exception as error:
                refuse(error)
        except Exception as error:
            refuse(error)

    async def _try(self, rows: Sequence[bytes], configs: Mapping[int, Config]) -> None:
        async with self._connection.attempt() as connection:
            await self._write(connection, rows, configs)

    async def _write(
        self, connection: psycopg.AsyncConnection[Any], rows: Sequence[bytes], configs: Mapping[int, Config]
    ) -> None:
        await self._make_room(connection, rows, configs)
        try:
            await self._copy(connection, _COPY, rows)  # one statement, and so one transaction
        except psycopg.errors.UniqueViolation:  # some are there already, from before a crash or a lost connection
            try:
                await connection.execute("BEGIN; " + _STAGING)
                await self._copy(connection, _COPY_STAGING, rows)
                await connection.execute(_INSERT)
                await connection.execute("COMMIT")
            except psycopg.errors.InsufficientPrivilege:  # a role without temporary tables: one by one, then
                await connection.execute("ROLLBACK")
                for row in rows:
                    with contextlib.suppress(psycopg.errors.UniqueViolation):
                        await self._copy(connection, _COPY, [row])

    async def _copy(self, connection: psycopg.AsyncConnection[Any], statement: bytes, rows: Sequence[bytes]) -> None:
        async with connection.cursor().copy(statement) as copy:
            parts, size = [journal_rows.COPY_HEAD], 0
            for row in rows:
                parts.append(row)
                size += len(row)
                if size > COPY_BYTES:
                    await copy.write(b"".join(parts))
                    parts, size = [], 0
            await copy.write(b"".join((*parts, journal_rows.COPY_END)))

    async def _make_room(
        self, connection: psycopg.AsyncConnection[Any], rows: Sequence[bytes], configs: Mapping[int, Config]
    ) -> None:
        for config in configs.values():
            if config.id not in self._configs:
                await connection.execute(
                    "INSERT INTO journal_configs (id, digest, settings) VALUES (%s, %s, %s) "
                    "ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, settings = excluded.settings "
                    "WHERE journal_configs.settings = '{}'",
                    [config.id, config.digest, Jsonb(config.settings)],
                )
                self._configs.add(config.id)
        for month in journal_rows.months(rows) - self._months:
            await self._make_partition(connection, month)
            self._months.add(month)

    async def _make_partition(self, connection: psycopg.AsyncConnection[Any], month: tuple[int, int]) -> None:
        name = partition_name(month)
        found = await (await connection.execute("SELECT to_regclass(%s)", [name])).fetchone()
        if found is not None and found[0] is not None:
            return
        year, number = month
        bounds = [datetime(year, number, 1, tzinfo=UTC).isoformat(), _next(month).isoformat()]
        async with connection.transaction():
            await connection.execute(f"SET LOCAL {LOCK_TIMEOUT}")
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [UPKEEP_LOCK])
            await connection.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF journal FOR VALUES FROM ({}) TO ({})").format(
                    sql.Identifier(name), *map(sql.Literal, bounds)
                )
            )

    async def upkeep(self, row_days: int | None, content_days: int | None) -> None:
        """Makes the next month's partition, drops months whose rows are all older than `row_days`, and completions'
        views that are, empties contents older than `content_days`. One replica does it, the others go by."""
        try:
            if not self._prepared:
                raise UnavailableError
            async with await self._connection.open() as connection:
                locked = await (
                    await connection.execute("SELECT pg_try_advisory_lock(%s)", [UPKEEP_LOCK + 1])
                ).fetchone()
                if locked is None or not locked[0]:
                    return
                await connection.execute(f"SET {LOCK_TIMEOUT}")
                now = datetime.now(UTC)
                following = _next((now.year, now.month))
                await self._make_partition(connection, (following.year, following.month))
                if row_days is not None:
                    oldest = now - timedelta(days=row_days)
                    dropped = await _drop_before(connection, oldest)
                    self._months.clear()
                    if dropped:
                        log.info("the journal's months %s were dropped", ", ".join(dropped))
                    await acceptance.delete_before(connection, oldest)
                if content_days is not None:
                    await _empty_before(connection, now - timedelta(days=content_days))
        except Exception as error:
            unavailable(error)

    async def drop_before(self, moment: datetime) -> list[str]:
        """Drops the months all of whose rows are older; returns their partitions' names."""
        return await self._work(_drop_before, moment)

    async def delete_views_before(self, moment: datetime) -> int:
        """Deletes completions' views whose first event is older; returns how many."""
        return await self._work(acceptance.delete_before, moment)

    async def empty_before(self, moment: datetime) -> int:
        """Empties `request` and `response` of older rows; returns how many."""
        return await self._work(_empty_before, moment)

    async def _work(
        self, work: Callable[[psycopg.AsyncConnection[Any], datetime], Awaitable[Result]], moment: datetime
    ) -> Result:
        try:
            async with await self._connection.open() as connection:
                await connection.execute(f"SET {LOCK_TIMEOUT}")
                return await work(connection, moment)
        except Exception as error:
            unavailable(error)

    async def stop(self) -> None:
        await self.views.close()
        await self._connection.close()
        await self._database.close()


async def _drop_before(connection: psycopg.AsyncConnection[Any], moment: datetime) -> list[str]:
    dropped = []
    for (name,) in await (await connection.execute(_PARTITIONS)).fetchall():
        month = _month_of(name)
        if month is not None and _next(month) <= moment:
            await connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
            dropped.append(name)
    return dropped


async def _empty_before(connection: psycopg.AsyncConnection[Any], moment: datetime) -> int:
    """A few thousand at a time, each in its own transaction."""
    emptied = 0
    for (name,) in await (await connection.execute(_PARTITIONS)).fetchall():
        month = _month_of(name)
        if month is None or datetime(*month, 1, tzinfo=UTC) >= moment:
            continue
        while True:
            done = await connection.execute(
                sql.SQL(
                    "UPDATE {0} SET request = NULL, response = NULL WHERE ctid = ANY (ARRAY(SELECT ctid FROM {0} "
                    "WHERE request_dt < %s AND (request IS NOT NULL OR response IS NOT NULL) LIMIT 2000))"
                ).format(sql.Identifier(name)),
                [moment],
            )
            emptied += done.rowcount
            if not done.rowcount:
                break
    return emptied


def _unknown(rows: Sequence[bytes]) -> dict[int, Config]:
    """Stand-ins for the rows' configurations, where a damaged spool has lost them."""
    return {i: Config(i, i.to_bytes(8, "big"), {}) for i in {journal_rows.config_id(row) for row in rows}}


def partition_name(month: tuple[int, int]) -> str:
    return f"journal_{month[0]:04}_{month[1]:02}"


def _month_of(partition: str) -> tuple[int, int] | None:
    year, _, number = partition.removeprefix("journal_").partition("_")
    return (int(year), int(number)) if year.isdigit() and number.isdigit() else None


def _next(month: tuple[int, int]) -> datetime:
    year, number = month
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
