"""A connection that belongs to one writer of the journal's database, and what PostgreSQL's errors mean for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import psycopg

from kodify.db.database import CONNECT_TIMEOUT_S, KEEPALIVE, Database
from kodify.errors import KodifyError, UnavailableError

WRITE_TIMEOUT_S = 30
# SQLSTATE classes that say something of the rows (cardinality, data, integrity, check option, limits of the program, a
# trigger's own exception, an allocation that is too large); every other one says that the database can't take any.
OF_ROWS = ("21", "22", "23", "44", "54", "P0", "XX")


class RowsRefused(Exception):
    """PostgreSQL says that a row of the batch can't be."""


class OwnConnection:
    """Opened when it is needed; after a failure out of its transaction, or away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.AsyncConnection[Any] | None = None

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """For one write, in bounded time."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                if self._connection is None or self._connection.closed:
                    self._connection = await self.open()
                yield self._connection
        except BaseException:
            await self._clear()
            raise

    async def open(self) -> psycopg.AsyncConnection[Any]:
        """Another one, for long work beside the writes."""
        return await psycopg.AsyncConnection.connect(
            self._database.conninfo,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            client_encoding="utf8",
            options="-c client_min_messages=warning -c statement_timeout=0",
            **KEEPALIVE,
        )

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    async def _clear(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            async with asyncio.timeout(1):
                await connection.execute("ROLLBACK")
        except Exception:
            await self.close()


def refuse(error: Exception) -> NoReturn:
    """Raises RowsRefused or what `unavailable` raises."""
    if isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in OF_ROWS:
        raise RowsRefused(reason(error)) from None
    unavailable(error)


def unavailable(error: Exception) -> NoReturn:
    """Raises UnavailableError for what says that the database is not there; a bug as it is."""
    if isinstance(error, KodifyError):
        raise error
    if isinstance(error, (psycopg.Error, OSError, TimeoutError)):
        raise UnavailableError(reason(error)) from None
    raise error


def reason(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
