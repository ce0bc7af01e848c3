"""Users with tokens of their own, in PostgreSQL (MTSAI_AUTH=true, AUTH_TYPE=DB)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from kodify.auth import tokens
from kodify.auth.base import Principal
from kodify.auth.cache import HolderCache
from kodify.auth.code_flow import CodeFlow
from kodify.auth.limits import Allowance, UserLimits
from kodify.auth.oidc import Identity
from kodify.auth.sign_on import SignOn
from kodify.db import migrations
from kodify.db.counters import SharedCounters
from kodify.db.database import Database
from kodify.db.tables import UsersTables
from kodify.db.users import Holder, UserQueries
from kodify.errors import UnauthorizedError, UnavailableError
from kodify.metrics import Metrics

log = logging.getLogger(__name__)

NOTE_USE_EVERY_S = 60
RECONNECT_S = 1
LISTEN_CHECK_S = 10
# After a failed try nobody waits for the database again for so long, who is known already.
PAUSE_S = 1

_USER, _ADMINISTRATOR = frozenset({"user"}), frozenset({"user", "admin"})


class UsersAuth:
    label = "users"

    def __init__(
        self,
        database: Database,
        tables: UsersTables,
        metrics: Metrics,
        *,
        migrate: bool,
        outage_s: float,
        sign_on: SignOn | None = None,
        code_flow: CodeFlow | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        """`outage_s`: how long known tokens go on while the database can't be reached."""
        self._sign_on = sign_on
        self.code_flow = code_flow
        self.limits: UserLimits | None = None
        self.database = database
        self.tables = tables
        self._metrics = metrics
        self._migrate = migrate
        self._outage_s = outage_s
        self.cache = HolderCache()
        self._asked: dict[tuple[bytes, int], asyncio.Task[Holder | None]] = {}
        self._used: set[int] = set()
        self._paused_until = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False
        self.allow(allowance or Allowance())

    def allow(self, allowance: Allowance) -> None:
        """What each user may use from now on."""
        if self.limits is not None:
            self.limits.allowance = allowance
        elif allowance:
            self.limits = UserLimits(allowance, SharedCounters(self.database, self.tables))

    async def start(self) -> None:
        """Raises ConfigError where the database, its tables or the sign-on provider can't be used."""
        if self._sign_on is not None:
            await self._sign_on.verifier.start()
        if self.code_flow is not None:
            self.code_flow.check()
        await self.open()
        self._metrics.watch_auth_cache(self.cache.__len__)
        listening = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen(listening)), asyncio.create_task(self._note_uses())]
        await listening.wait()
        self._started = True

    async def open(self) -> None:
        """The database and the tables alone, for administration without a server."""
        await self.database.open()
        await asyncio.to_thread(migrations.prepare, self.database, self.tables, migrate=self._migrate)

    async def stop(self) -> None:
        self._started = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with contextlib.suppress(Exception):
            await self._write_uses()
        await self.database.close()

    @contextlib.asynccontextmanager
    async def queries(self) -> AsyncIterator[UserQueries]:
        """One transaction. What it changes counts here at once, on other replicas when they are told."""
        async with self.database.session() as session:
            queries = UserQueries(session, self.tables)
            yield queries
        if queries.changed:
            self.cache.forget()

    async def signed_on(self, queries: UserQueries, identity: Identity) -> Holder:
        """Raises UnauthorizedError where they may not use Kodify."""
        assert self._sign_on is not None, "there is no code flow without it"
        holder = await self._sign_on.holder(queries, identity)
        self._principal(holder)
        return holder

    async def identify(self, token: str | None) -> Principal:
        if not self._started:
            raise UnavailableError("The server is still starting. Please try again later")
        if token is None:
            raise UnauthorizedError()
        digest = tokens.digest(token)
        known = self.cache.get(digest)
        if known is not None and self.cache.is_fresh(known):
            self._metrics.auth_cache_hits.inc()
            return self._principal(known.holder)
        foreign = self._sign_on is not None and self._sign_on.verifier.looks_like(token)
        if known is None and not foreign and not tokens.is_well_formed(token):
            raise UnauthorizedError()
        self._metrics.auth_cache_misses.inc()
        in_bounds = known is not None and time.monotonic() - known.checked_at < self._outage_s
        if known is not None and in_bounds and time.monotonic() < self._paused_until:
            return self._principal(known.holder)
        try:
            holder = await self._ask(digest, token if foreign else None)
        except UnavailableError:
            if not foreign:  # the sign-on provider may be away while the database is there
                self._paused_until = time.monotonic() + PAUSE_S
            if known is not None and in_bounds:
                return self._principal(known.holder)
            raise
        if holder is None:
            self.cache.drop(digest)
            raise UnauthorizedError()
        return self._principal(holder)

    def _principal(self, holder: Holder) -> Principal:
        now = datetime.now(UTC)
        token_expired = holder.token_expires_at is not None and holder.token_expires_at <= now
        if holder.disabled or token_expired or holder.expires_on < now.date():
            raise UnauthorizedError()
        if holder.token_id is not None:
            self._used.add(holder.token_id)
        scopes = _ADMINISTRATOR if holder.privileged else _USER
        return Principal(holder.email, scopes, holder.user_id, holder.token_id)

    async def _ask(self, digest: bytes, foreign: str | None) -> Holder | None:
        """Requests that come with one token at once share one query; one that gives up does not end the others'."""
        key = digest, self.cache.epoch  # what was asked before a change is no answer after it
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._query(digest, foreign))
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        return await asyncio.shield(task)

    async def _query(self, digest: bytes, foreign: str | None) -> Holder | None:
        epoch = self.cache.epoch
        if foreign is not None and self._sign_on is not None:
            identity = await self._sign_on.verifier.verify(foreign)
            async with self.queries() as queries:
                holder: Holder | None = await self._sign_on.holder(queries, identity)
        else:
            async with self.queries() as queries:
                holder = await queries.holder(digest)
        if holder is not None:
            self.cache.put(digest, holder, epoch)
        return holder

    async def _listen(self, listening: asyncio.Event) -> None:
        """Every change to users, on whichever replica, is told here."""
        while True:
            with contextlib.suppress(psycopg.Error, OSError):
                async with await self.database.listener() as connection:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self.tables.channel)))
                    self.cache.distrust()  # what was told while nobody listened is lost
                    listening.set()
                    while True:
                        async for _ in connection.notifies(timeout=LISTEN_CHECK_S):
                            self.cache.forget()
                        async with asyncio.timeout(RECONNECT_S * 5):  # a line that is only half open says nothing
                            await connection.execute("SELECT 1")
            self.cache.distrust()
            listening.set()
            await asyncio.sleep(RECONNECT_S)

    async def _note_uses(self) -> None:
        while True:
            await asyncio.sleep(NOTE_USE_EVERY_S)
            try:
                await self._write_uses()
            except Exception as error:
                log.warning("the last uses of tokens could not be noted: %s", error)

    async def _write_uses(self) -> None:
        used, self._used = self._used, set()
        if not used:
            return
        try:
            async with self.queries() as queries:
                await queries.touch(sorted(used))
        except Exception:
            self._used |= used
            raise
