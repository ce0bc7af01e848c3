"""One PostgreSQL: its address, its sessions, what to do when it is not there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from kodify.db.embedded import EmbeddedServer
from kodify.errors import ConfigError, UnavailableError

CONNECT_TIMEOUT_S = 2
# A server that has gone silent must not hold a request: neither a query nor what the kernel still waits for.
TRANSACTION_TIMEOUT_S = 5
KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}
POOL_SIZE = 5
RETRY_AFTER_S = 5
EMBEDDED = "embedded"


class Database:
    """Opened once; every session is short and returns its connection."""

    def __init__(self, address: str, embedded_folder: Path) -> None:
        """`address`: postgresql://…, or `embedded` for a server of our own in `embedded_folder`."""
        self._address = address
        self._embedded = EmbeddedServer(embedded_folder) if address == EMBEDDED else None
        self._url: URL | None = None
        self._engine: AsyncEngine | None = None

    @property
    def engine(self) -> AsyncEngine:
        assert self._engine is not None, "the database is not open"
        return self._engine

    async def open(self) -> None:
        """Makes the database where the server has none of that name. Raises ConfigError with what to mend."""
        address = await asyncio.to_thread(self._embedded.start) if self._embedded is not None else self._address
        self._url = _read_url(address)
        await asyncio.to_thread(self._make_database)
        self._engine = create_async_engine(
            self._url,
            pool_size=POOL_SIZE,
            max_overflow=POOL_SIZE,
            pool_timeout=CONNECT_TIMEOUT_S,
            pool_pre_ping=True,  # connections do not outlive a restart of the server
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, **KEEPALIVE},
        )

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.stop)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """One transaction, committed at the end. Raises UnavailableError where the database can't be reached."""
        if self._engine is None:
            raise unavailable()
        try:
            async with (
                asyncio.timeout(TRANSACTION_TIMEOUT_S),
                AsyncSession(self._engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session
        except (OperationalError, InterfaceError, PoolTimeoutError, OSError) as error:
            raise unavailable() from error
        except DBAPIError as error:
            if error.connection_invalidated or isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction):
                raise unavailable() from error
            raise

    async def listener(self) -> psycopg.AsyncConnection[Any]:
        """A connection of its own, for LISTEN."""
        return await psycopg.AsyncConnection.connect(
            self.conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, **KEEPALIVE
        )

    @property
    def conninfo(self) -> str:
        assert self._url is not None, "the database is not open"
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    def blocking_connection(self) -> psycopg.Connection[Any]:
        """Blocking, outside the pool: for migrations."""
        return psycopg.connect(self.conninfo, connect_timeout=CONNECT_TIMEOUT_S)

    def _make_database(self) -> None:
        assert self._url is not None
        place = self._url.render_as_string(hide_password=True)
        try:
            self.blocking_connection().close()
            return
        except psycopg.OperationalError as error:
            if "does not exist" not in str(error) or self._url.database is None:
                raise ConfigError(f"The database {place} (DB_URL) can't be reached: {_reason(error)}") from None
        name, maintenance = self._url.database, self._url.set(drivername="postgresql", database="postgres")
        try:
            with psycopg.connect(
                maintenance.render_as_string(hide_password=False), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
            ) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.errors.DuplicateDatabase:
            pass  # another replica was quicker
        except psycopg.Error as error:
            raise ConfigError(
                f"The database {place} (DB_URL) does not exist and can't be made: {_reason(error)}"
            ) from None


def unavailable() -> UnavailableError:
    return UnavailableError("The database can't be reached. Please try again later", retry_after_s=RETRY_AFTER_S)


def _read_url(address: str) -> URL:
    try:
        url = make_url(address)
    except Exception:
        raise ConfigError("DB_URL is no address: postgresql://user:password@host:port/database is.") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigError(f"DB_URL names {url.get_backend_name()}: Kodify keeps its users in PostgreSQL.")
    return url.set(drivername="postgresql+psycopg")


def _reason(error: Exception) -> str:
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return text if text.endswith(".") else text + "."
