"""Events of completions on their way to PostgreSQL: in memory, a second at most, longer only while it is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Sequence

from kodify.db.acceptance import ViewEvent, ViewWriter
from kodify.db.journal_connection import RowsRefused
from kodify.errors import UnavailableError
from kodify.journal.mover import DRAIN_S, INTERVAL_S, PATIENCE_S, TELL_EVERY_S

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
MOST_ROWS = 500


class EventStore:
    def __init__(self, writer: ViewWriter) -> None:
        self._writer = writer
        self._waiting: deque[ViewEvent] = deque()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._told_at = -TELL_EVERY_S
        self.dropped = 0  # of all that ever came

    @property
    def is_held_up(self) -> bool:
        """The database took none at the last try."""
        return self._failures > 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def put(self, event: ViewEvent) -> None:
        """Never waits. Where too many are waiting already the oldest is dropped."""
        self._waiting.append(event)
        self._limit()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Writes what waits, in bounded time; the rest is lost."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._stopping.set()
        await asyncio.wait({task}, timeout=DRAIN_S)
        task.cancel()
        await asyncio.wait({task}, timeout=1)  # a server that is silent does not answer a cancelled query either
        if self._waiting:
            log.warning("%d events of completions are lost: the database does not take them", len(self._waiting))
            self.dropped += len(self._waiting)
            self._waiting.clear()

    async def _run(self) -> None:
        while True:
            stopping = self._stopping.is_set()
            try:
                while self._waiting:
                    await self._write_some()
                if stopping:
                    return
            except UnavailableError as error:
                self._complain(error.message)
            except Exception as error:
                if self._may_tell():
                    log.exception("a bug: events of completions could not be written")
                self._complain(str(error))
            await self._pause()

    async def _pause(self) -> None:
        seconds = PATIENCE_S[min(self._failures, len(PATIENCE_S)) - 1] if self._failures else INTERVAL_S
        if self._stopping.is_set():
            return await asyncio.sleep(PATIENCE_S[0])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _write_some(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(MOST_ROWS, len(self._waiting)))]
        try:
            await self._write(batch)
        except BaseException:  # what of it is there already is not changed by another write
            self._waiting.extendleft(reversed(batch))
            self._limit()
            raise
        if self._failures:
            log.warning("the journal's database takes events of completions again")
        self._failures = 0

    async def _write(self, events: Sequence[ViewEvent]) -> None:
        """One refused event costs only itself: halves are tried until it stands alone."""
        try:
            await self._writer.write(events)
        except RowsRefused as refusal:
            if len(events) == 1:
                self.dropped += 1
                log.error("PostgreSQL refuses an event of a completion, which is lost: %s", refusal)
                return
            middle = len(events) // 2
            await self._write(events[:middle])
            await self._write(events[middle:])

    def _limit(self) -> None:
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1

    def _may_tell(self) -> bool:
        return time.monotonic() - self._told_at > TELL_EVERY_S

    def _complain(self, why: str) -> None:
        self._failures += 1
        if self._failures == 1 or self._may_tell():
            self._told_at = time.monotonic()
            log.warning("the journal's database takes no events of completions, they wait in memory: %s", why)
