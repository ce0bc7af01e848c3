"""Counters that replicas share: a row each, which starts again when its time is over."""

from __future__ import annotations

import time
from collections import OrderedDict

from limits.aio.storage import Storage
from sqlalchemy import delete, func, select, text

from kodify.db.database import Database
from kodify.db.tables import UsersTables
from kodify.errors import UnavailableError

MOST_REMEMBERED = 10_000
REMEMBERED_S = 1  # other replicas count too


class SharedCounters(Storage):
    """A storage for the `limits` library's fixed windows. Raises UnavailableError without the database.

    What `incr` has just learnt is remembered, so that asking how much is left costs no second query.
    """

    STORAGE_SCHEME = None

    def __init__(self, database: Database, tables: UsersTables) -> None:
        super().__init__()
        self._database = database
        self._counter = tables.counter.__table__  # type: ignore[attr-defined]
        self._known: OrderedDict[str, tuple[int, float, float]] = OrderedDict()
        own = f'"{tables.schema}"."{tables.name}_counters"' if tables.schema else f'"{tables.name}_counters"'
        over = f"{own}.expires_at <= now()"
        self._count = text(
            f"INSERT INTO {own} (key, amount, expires_at) "
            f"VALUES (:key, :amount, now() + make_interval(secs => :expiry)) "
            f"ON CONFLICT (key) DO UPDATE SET "
            f"amount = CASE WHEN {over} THEN excluded.amount ELSE {own}.amount + excluded.amount END, "
            f"expires_at = CASE WHEN {over} THEN excluded.expires_at ELSE {own}.expires_at END "
            f"RETURNING amount, extract(epoch FROM expires_at)"
        )

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return UnavailableError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        async with self._database.session() as session:
            row = (
                await (await session.connection()).execute(
                    self._count.bindparams(key=key, amount=amount, expiry=float(expiry))
                )
            ).one()
        self._remember(key, int(row[0]), float(row[1]))
        return int(row[0])

    async def get(self, key: str) -> int:
        return (await self._read(key))[0]

    async def get_expiry(self, key: str) -> float:
        return (await self._read(key))[1]

    async def check(self) -> bool:
        async with self._database.session() as session:
            await (await session.connection()).execute(text("SELECT 1"))
        return True

    async def reset(self) -> int | None:
        """Takes away what is over; what counts still counts."""
        async with self._database.session() as session:
            done = await (await session.connection()).execute(
                delete(self._counter).where(self._counter.c.expires_at <= func.now())
            )
        return int(done.rowcount)

    async def clear(self, key: str) -> None:
        self._known.pop(key, None)
        async with self._database.session() as session:
            await (await session.connection()).execute(delete(self._counter).where(self._counter.c.key == key))

    async def _read(self, key: str) -> tuple[int, float]:
        known = self._known.get(key)
        if known is not None and known[1] > time.time() and time.monotonic() - known[2] < REMEMBERED_S:
            return known[:2]
        async with self._database.session() as session:
            columns = self._counter.c
            wanted = select(columns.amount, func.extract("epoch", columns.expires_at))
            row = (
                await (await session.connection()).execute(
                    wanted.where(columns.key == key, columns.expires_at > func.now())
                )
            ).first()
        if row is None:
            return 0, time.time()
        self._remember(key, int(row[0]), float(row[1]))
        return int(row[0]), float(row[1])

    def _remember(self, key: str, amount: int, expires_at: float) -> None:
        self._known[key] = (amount, expires_at, time.monotonic())
        self._known.move_to_end(key)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
