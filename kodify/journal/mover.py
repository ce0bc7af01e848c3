"""Moves entries from the spools to PostgreSQL, in batches, and goes on trying while it is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from kodify.db import journal_rows
from kodify.db.journal import Config, JournalWriter, RowsRefused
from kodify.errors import UnavailableError
from kodify.journal.quarantine import set_aside
from kodify.journal.spool import Abandoned, Batch, Spool
from kodify.metrics import JournalMetrics

log = logging.getLogger(__name__)

INTERVAL_S = 0.8  # an entry is written at most a second late
MOST_ROWS = 500
PATIENCE_S = (0.5, 1.0, 2.0)  # between tries while the database is away
ADOPT_EVERY_S = 30
TELL_EVERY_S = 60.0
DRAIN_S = 5


class Source(Protocol):
    def next_batch(self, most_rows: int) -> Batch | None: ...

    def done(self, batch: Batch) -> None: ...


class Mover:
    def __init__(self, spool: Spool, writer: JournalWriter, config: Config, folder: Path, metrics: JournalMetrics):
        """`folder`: where rows that can't be written are set aside."""
        self._spool = spool
        self._writer = writer
        self._own = {config.id: config}
        self._folder = folder
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._oldest_us: int | None = None
        self._failures = 0
        self._told_at = -TELL_EVERY_S
        self._adopted_at = 0.0

    @property
    def is_held_up(self) -> bool:
        """The database took none at the last try."""
        return self._failures > 0

    @property
    def lag_s(self) -> float:
        """How long the oldest row has been waiting."""
        return 0.0 if self._oldest_us is None else max(0.0, time.time() - self._oldest_us / 1e6)

    async def run(self) -> None:
        """Until `stop`."""
        while True:
            stopping = self._stopping.is_set()
            try:
                await self._move_own()
                if not stopping:
                    await self._adopt()
                if stopping:
                    return
            except UnavailableError as error:
                await self._complain(error)
            except Exception as error:
                if self._may_tell():
                    log.exception("the journal's entries could not be moved")
                await self._complain(UnavailableError(str(error)))
            await self._pause()

    async def stop(self, task: asyncio.Task[None]) -> None:
        """Moves what there is, in bounded time; the rest waits in its file for the next start."""
        self._stopping.set()
        await asyncio.wait({task}, timeout=DRAIN_S)
        task.cancel()
        await asyncio.wait({task}, timeout=1)  # a server that is silent does not answer a cancelled query either
        if self._spool.waiting:
            log.warning("%d entries of the journal wait in %s for the next start", self._spool.waiting, self._folder)

    async def _pause(self) -> None:
        seconds = PATIENCE_S[min(self._failures, len(PATIENCE_S)) - 1] if self._failures else INTERVAL_S
        if self._stopping.is_set():
            return await asyncio.sleep(PATIENCE_S[0])
        if self._spool.waiting > MOST_ROWS and not self._failures:
            return await asyncio.sleep(0)  # there is more than a turn's
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _move_own(self) -> None:
        """What waits now; what comes meanwhile is the next turn's, or the other spools' would never come."""
        moved, wanted = 0, self._spool.waiting
        while moved < wanted and (batch := self._spool.next_batch(MOST_ROWS)) is not None:
            await self._deliver(batch, self._spool, self._own)
            moved += len(batch.rows)
        self._oldest_us = None

    async def _move(self, abandoned: Abandoned) -> None:
        configs: dict[int, Config] = {}
        while (batch := abandoned.next_batch(MOST_ROWS)) is not None:
            await self._deliver(batch, abandoned, configs)
            self._spool.foreign_size = abandoned.size
            await self._move_own()

    async def _deliver(self, batch: Batch, source: Source, configs: dict[int, Config]) -> None:
        if batch.damaged:
            self._metrics.lost.labels("damaged").inc()
            log.error("%d bytes of %s are damaged and were passed over", batch.damaged, batch.segment.path)
        for data in batch.configs:
            with contextlib.suppress(msgspec.DecodeError):
                config = msgspec.json.decode(data, type=Config)
                configs[config.id] = config
        if batch.rows:
            self._oldest_us = journal_rows.times_us(batch.rows[0])[1]
            await self._write(batch.rows, configs)
        source.done(batch)
        await asyncio.sleep(0)

    async def _write(self, rows: Sequence[bytes], configs: dict[int, Config]) -> None:
        """One refused row costs only itself: halves are tried until it stands alone."""
        try:
            await self._writer.write(rows, configs)
            self._metrics.written.inc(len(rows))
            self._recover()
        except RowsRefused as refusal:
            if len(rows) == 1:
                return await self._mend(rows[0], configs, refusal)
            middle = len(rows) // 2
            await self._write(rows[:middle], configs)
            await self._write(rows[middle:], configs)

    async def _mend(self, row: bytes, configs: dict[int, Config], refusal: RowsRefused) -> None:
        for mend in (journal_rows.without_nul, journal_rows.as_text):
            try:
                await self._writer.write([await asyncio.to_thread(mend, row)], configs)
            except RowsRefused:
                continue
            self._metrics.mended.inc()
            self._metrics.written.inc()
            return
        path = set_aside(self._folder, row, str(refusal))
        self._metrics.quarantined.inc()
        log.error("PostgreSQL refuses an entry of the journal, which was set aside in %s: %s", path, refusal)

    async def _adopt(self) -> None:
        """What processes left behind that are no more."""
        if time.monotonic() - self._adopted_at < ADOPT_EVERY_S and self._adopted_at:
            return
        for abandoned in self._spool.left_behind():
            self._spool.foreign_size = abandoned.size
            try:
                log.info("the journal takes over %d bytes of a spool that was left behind", abandoned.size)
                await self._move(abandoned)
                self._spool.foreign_size = 0
            except OSError as error:
                log.warning("the spool %s that was left behind can't be read: %s", abandoned.folder, error)
            finally:
                abandoned.close()
        self._adopted_at = time.monotonic()

    def _may_tell(self) -> bool:
        return time.monotonic() - self._told_at > TELL_EVERY_S

    def _recover(self) -> None:
        if self._failures:
            log.warning("the journal's database takes entries again")
        self._failures = 0

    async def _complain(self, error: UnavailableError) -> None:
        self._failures += 1
        if self._failures == 1 or self._may_tell():
            self._told_at = time.monotonic()
            log.warning("the journal's database takes no entries, they wait on the disk: %s", error.message)
        await asyncio.to_thread(self._spool.sync)
