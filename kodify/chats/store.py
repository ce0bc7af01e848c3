"""Where chats are kept: opened when it is needed, and what other replicas tell of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import psycopg
from psycopg import sql

from kodify.db import migrations
from kodify.db.chats import ChatQueries
from kodify.db.chats_tables import ChatsTables
from kodify.db.database import Database, UnreachableError
from kodify.errors import ConfigError, UnavailableError

log = logging.getLogger(__name__)

RECONNECT_S = 1.0
LISTEN_CHECK_S = 10.0
LOST_S = 15.0  # an answer of which its replica has said nothing for so long is lost
LOST = "The answer was lost with the server that made it. Please ask again."
MOST_UPKEEP_S = 60.0

Told = dict[str, Any]


class Store:
    def __init__(
        self,
        database: Database,
        tables: ChatsTables,
        on_told: Callable[[Told], None],
        on_missed: Callable[[], None],
        *,
        migrate: bool,
        hours: float,
        is_there: Callable[[], bool] | None = None,
    ) -> None:
        """`on_told` hears what any replica, this one too, has done to a chat; `on_missed` is called when something may
        have been told that was not heard here. `is_there`: for a database that nobody has configured, which is opened
        when there is something in it or to be put there."""
        self._database = database
        self._tables = tables
        self._on_told = on_told
        self._on_missed = on_missed
        self._migrate = migrate
        self._is_there = is_there
        self._opening = asyncio.Lock()
        self._opened = False
        self._away_at = -math.inf  # when the database was last seen to be away
        self._tasks: list[asyncio.Task[None]] = []
        self.hours = hours

    @property
    def label(self) -> str:
        where = f"{self._database.shown}{'' if self._is_there is None else ', from the first one on'}"
        return f"{where}, for {self.hours:g} h"

    async def prepare(self) -> None:
        """The database and the tables alone, for administration without a server. Raises ConfigError."""
        await self._database.open()
        try:
            await asyncio.to_thread(migrations.prepare, self._database, self._tables, migrate=self._migrate)
        finally:
            await self._database.close()

    async def start(self) -> None:
        """Raises ConfigError where a configured database can't be used; where it is away, chats wait for it."""
        if self._is_there is not None:
            return
        try:
            await self._open()
        except UnreachableError as error:
            log.warning("the chats' database can't be reached: %s", error.message)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._opened = False
        await self._database.close()

    async def may_have_any(self) -> bool:
        """Whether it is worth looking: a laptop's first look at its list of chats starts no database."""
        return self._opened or self._is_there is None or self._is_there()

    @contextlib.asynccontextmanager
    async def queries(self) -> AsyncIterator[ChatQueries]:
        """One transaction. Raises UnavailableError."""
        if not self._opened:
            try:
                await self._open()
            except ConfigError as error:
                log.error("chats can't be kept: %s", error.message)
                raise UnavailableError("Chats can't be kept now. Please try again later") from None
        async with self._database.session() as session:
            yield ChatQueries(session, self._tables)

    async def give_up(self, queries: ChatQueries, lost_s: float = LOST_S) -> None:
        """Answers of which their replica says nothing any more. While the database was away none could: they get as
        long again to do so."""
        if time.monotonic() - self._away_at >= lost_s:
            await queries.fail_stale(lost_s, LOST)

    async def _open(self) -> None:
        async with self._opening:
            if self._opened:
                return
            await self._database.open()
            await asyncio.to_thread(migrations.prepare, self._database, self._tables, migrate=self._migrate)
            self._opened = True
            listening = asyncio.Event()
            self._tasks = [asyncio.create_task(self._listen(listening)), asyncio.create_task(self._keep_up())]
            await listening.wait()

    async def _listen(self, listening: asyncio.Event) -> None:
        missed = False
        while True:
            with contextlib.suppress(psycopg.Error, OSError):
                async with await self._database.listener() as connection:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._tables.channel)))
                    listening.set()
                    if missed:
                        self._on_missed()
                    while True:
                        async for notice in connection.notifies(timeout=LISTEN_CHECK_S):
                            self._hear(notice.payload)
                        async with asyncio.timeout(RECONNECT_S * 5):  # a line that is only half open says nothing
                            await connection.execute("SELECT 1")
            self._away_at = time.monotonic()
            missed = True
            listening.set()
            await asyncio.sleep(RECONNECT_S)

    def _hear(self, payload: str) -> None:
        try:
            self._on_told(orjson.loads(payload))
        except Exception:  # anybody who may connect to the database may say anything here
            log.exception("a notification about chats was not understood")

    async def _keep_up(self) -> None:
        """Deletes what has expired, and gives up answers whose replica has died."""
        pause_s = min(MOST_UPKEEP_S, max(0.2, self.hours * 3600 / 10))
        while True:
            try:
                async with self.queries() as queries:
                    await queries.delete_expired()
                    await self.give_up(queries)
            except UnavailableError as error:
                log.warning("expired chats wait for their database: %s", error.message)
            except Exception:
                log.exception("the upkeep of chats failed")
            await asyncio.sleep(pause_s)
