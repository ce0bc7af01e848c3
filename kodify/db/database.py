"""One PostgreSQL: its address, its sessions, what to do when it is not there."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
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
_PASSES = re.compile(
    "starting up|shutting down|recovery|too many|connection slots|timeout"
    "|запускается|останавливается|восстановлен|слишком много|слоты подключений"
)
EMBEDDED = "embedded"


class UnreachableError(ConfigError):
    """`passes`: the server says, or its silence, that it will be better later: it starts, it stops, it is full."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message)
        self.passes = passes


class Database:
    """Opened once; every session is short and returns its connection."""

    def __init__(
        self, address: str | URL, embedded_folder: Path, *, setting: str = "DB_URL", embedded_name: str | None = None
    ) -> None:
        """`address`: postgresql://…, or `embedded` for a server of our own in `embedded_folder`, there the database
        `embedded_name`. `setting` is where the address comes from, for complaints."""
        self._address = address
        self._setting = setting
        self._embedded = EmbeddedServer(embedded_folder) if address == EMBEDDED else None
        self._embedded_name = embedded_name
        self._url: URL | None = None
        self._engine: AsyncEngine | None = None

    @property
    def engine(self) -> AsyncEngine:
        assert self._engine is not None, "the database is not open"
        return self._engine

    async def open(self) -> None:
        """Makes the database where the server has none of that name. Raises ConfigError with what to mend."""
        await asyncio.to_thread(self.find, make=True)
        assert self._url is not None
        self._engine = create_async_engine(
            self._url,
            pool_size=POOL_SIZE,
            max_overflow=POOL_SIZE,
            pool_timeout=CONNECT_TIMEOUT_S,
            hide_parameters=True,  # errors are logged, and parameters are what people say
            pool_pre_ping=True,  # connections do not outlive a restart of the server
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, **KEEPALIVE},
        )

    def find(self, *, make: bool) -> None:
        """Blocks. Opens no pool: for who brings connections of their own."""
        if self._url is None:
            self._url = self._find_address()
        self._make_sure_it_is_there(make=make)

    def _find_address(self) -> URL:
        url = _read_url(self._embedded.start() if self._embedded is not None else self._address, self._setting)
        return url.set(database=self._embedded_name) if self._embedded is not None and self._embedded_name else url

    def server_listens(self) -> bool:
        """Blocks. Whether anything answers where the server should be."""
        assert self._url is not None, "the database is not open"
        folder, port = self._url.query.get("host"), self._url.query.get("port", "5432")
        try:
            if folder is not None:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.settimeout(CONNECT_TIMEOUT_S)
                    probe.connect(f"{folder}/.s.PGSQL.{port}")
            else:
                place = self._url.host or "localhost", self._url.port or 5432
                socket.create_connection(place, CONNECT_TIMEOUT_S).close()
        except (OSError, UnicodeError):
            return False
        return True

    @property
    def shown(self) -> str:
        """The address without the password."""
        url = self._url or (self._address if isinstance(self._address, URL) else None)
        return url.set(drivername="postgresql").render_as_string() if url is not None else str(self._address)

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
        return _conninfo(self._url)

    def blocking_connection(self) -> psycopg.Connection[Any]:
        """Blocking, outside the pool: for migrations."""
        return psycopg.connect(self.conninfo, connect_timeout=CONNECT_TIMEOUT_S)

    def _make_sure_it_is_there(self, *, make: bool) -> None:
        assert self._url is not None
        try:
            self.blocking_connection().close()
            return
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"The address ({self._setting}) can't be used: {_reason(error)}") from None
        except psycopg.OperationalError as error:
            reason, passes = _reason(error), _passes(error)
        name, maintenance = self._url.database, self._url.set(drivername="postgresql", database="postgres")
        place = f"The database {self.shown} ({self._setting})"
        # The server's words may be in any language: whether there is such a database is asked, not read from them.
        try:
            with psycopg.connect(
                _conninfo(maintenance), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
            ) as connection:
                if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None:
                    with contextlib.suppress(psycopg.OperationalError):
                        self.blocking_connection().close()  # another replica has just made it
                        return
                    raise UnreachableError(f"{place} can't be reached: {reason}", passes=passes)
                if not make:
                    raise ConfigError(f"{place} does not exist: run `kodify migrate`, or set RUN_MIGRATIONS=1.")
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name or "")))
        except psycopg.OperationalError:
            raise UnreachableError(f"{place} can't be reached: {reason}", passes=passes) from None
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            pass  # another replica was quicker
        except psycopg.Error as error:
            raise ConfigError(f"{place} does not exist and can't be made: {_reason(error)}") from None


def unavailable() -> UnavailableError:
    return UnavailableError("The database can't be reached. Please try again later", retry_after_s=RETRY_AFTER_S)


def _read_url(address: str | URL, setting: str) -> URL:
    try:
        url = make_url(address)
    except Exception:
        raise ConfigError(f"{setting} is no address: postgresql://user:password@host:port/database is.") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigError(f"{setting} names {url.get_backend_name()}: Kodify keeps its users in PostgreSQL.")
    return url.set(drivername="postgresql+psycopg")


def _conninfo(url: URL) -> str:
    """Not as an address, in which libpq does not take every password."""
    names = {"host": url.host, "port": url.port, "user": url.username, "password": url.password, "dbname": url.database}
    given = {name: value for name, value in names.items() if value is not None}
    return make_conninfo("", **{**given, **{name: str(value) for name, value in url.query.items()}})


def _passes(error: psycopg.OperationalError) -> bool:
    """A refused connection has no SQLSTATE; what it says is in the server's language."""
    return isinstance(error, psycopg.errors.ConnectionTimeout) or _PASSES.search(str(error)) is not None


def _reason(error: Exception) -> str:
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return text if text.endswith(".") else text + "."
