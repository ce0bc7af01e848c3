"""Questions to the journal from a server that has other work: in a few threads, each on a connection that can only
read, in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from psycopg.rows import DictRow, dict_row

from kodify.db.database import CONNECT_TIMEOUT_S, KEEPALIVE, Database, unavailable
from kodify.db.journal_search import JournalSearch
from kodify.errors import ConfigError, UnavailableError

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
CONNECTIONS = 2
MOST_ASKED = 16  # at once, those that wait included
QUERY_TIMEOUT_S = 15


class JournalAccess:
    """Opens its connections when they are needed. `ask` raises UnavailableError where there is no answer."""

    def __init__(self, database: Database, *, timeout_s: float = QUERY_TIMEOUT_S) -> None:
        """`timeout_s`: of one query."""
        self._database = database
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="journal-access")
        self._asked: set[Future[Any]] = set()
        self._idle: list[psycopg.Connection[DictRow]] = []
        self._busy: set[psycopg.Connection[DictRow]] = set()

    async def ask(self, question: Callable[[JournalSearch], Answer]) -> Answer:
        if len(self._asked) >= MOST_ASKED:
            raise UnavailableError("Too much is asked of the journal. Please try again later")
        asked = self._threads.submit(self._answer, question)
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        return await asyncio.wrap_future(asked)

    async def stop(self) -> None:
        for connection in list(self._busy):
            with contextlib.suppress(psycopg.Error):
                await asyncio.to_thread(connection.cancel_safe, timeout=CONNECT_TIMEOUT_S)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        await self._database.close()

    def _answer(self, question: Callable[[JournalSearch], Answer]) -> Answer:
        while True:
            known = self._take()
            connection = known or self._connect()
            self._busy.add(connection)
            try:
                return question(JournalSearch(connection))
            except psycopg.errors.QueryCanceled:
                raise UnavailableError(
                    f"The journal did not find it in {self._timeout_s:g} s: ask for a shorter time.", retry_after_s=None
                ) from None
            except psycopg.Error as error:
                if connection.broken and known is not None:
                    continue  # it was lost while nobody asked
                log.warning("the journal can't be read: %s", error)
                raise unavailable() from None
            finally:
                self._busy.discard(connection)
                if connection.closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    def _take(self) -> psycopg.Connection[DictRow] | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connect(self) -> psycopg.Connection[DictRow]:
        try:
            self._database.find(make=False)
            return psycopg.connect(
                self._database.conninfo,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                row_factory=dict_row,
                options="-c timezone=UTC -c default_transaction_read_only=on "
                f"-c statement_timeout={int(self._timeout_s * 1000)}",
                **KEEPALIVE,
            )
        except (psycopg.Error, ConfigError) as error:
            log.warning("the journal can't be read: %s", error)
            raise unavailable() from None
