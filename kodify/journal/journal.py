"""The journal of API requests: `put` and forget."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from kodify.db import journal_rows
from kodify.db.journal import Config, JournalWriter
from kodify.errors import UnavailableError
from kodify.journal.base import Entry
from kodify.journal.event_store import EventStore
from kodify.journal.mover import Mover
from kodify.journal.record import Record, begin
from kodify.journal.secrets import Mask
from kodify.journal.spool import Spool, SpoolFull
from kodify.metrics import JournalMetrics

log = logging.getLogger(__name__)

ALARM_SHARE = 0.8
LONGEST_NAME = 256  # of a model that a client made up
TELL_EVERY_S = 60.0
UPKEEP_EVERY_S = 6 * 3600.0
UPKEEP_RETRY_S = 60.0


class Journal:
    def __init__(
        self,
        writer: JournalWriter,
        folder: Path,
        settings: dict[str, Any],
        metrics: JournalMetrics,
        *,
        limit_bytes: int,
        with_content: bool = True,
        row_days: int | None = None,
        content_days: int | None = None,
        mask: Mask | None = None,
    ) -> None:
        """`folder`: of the spools. `settings`: the configuration that entries refer to, without secrets."""
        self._config = make_config(settings)
        self._spool = Spool(folder, limit_bytes, msgspec.json.encode(self._config))
        self._writer = writer
        self.events = EventStore(writer.views)
        self._metrics = metrics
        self._with_content = with_content
        self._days = (row_days, content_days)
        self._mask = mask or Mask(())
        self._mover = Mover(self._spool, writer, self._config, folder, metrics)
        self._tasks: list[asyncio.Task[None]] = []
        self._told_at = -TELL_EVERY_S
        self._ending: list[Callable[[], Entry]] = []
        metrics.watch(
            waiting=lambda: self._spool.waiting,
            spooled_bytes=lambda: self._spool.size + self._spool.foreign_size,
            limit_bytes=limit_bytes,
            alarm=lambda: self._spool.size + self._spool.foreign_size >= ALARM_SHARE * limit_bytes,
            lag_s=lambda: self._mover.lag_s,
        )
        content = "" if with_content else ", without contents"
        self.label = f"{writer.shown}{content}"

    def open(self) -> None:
        """Entries are taken from now on. Raises ConfigError where they can't be."""
        self._spool.open()

    async def start(self) -> None:
        """Raises ConfigError where the database is there and is not as it must be. Where nothing answers at its
        address entries wait on the disk, and requests go on."""
        try:
            await self._writer.prepare()
        except UnavailableError as error:
            log.warning("the journal's database can't be reached, entries wait on the disk: %s", error.message)
        self._tasks = [asyncio.create_task(self._mover.run()), asyncio.create_task(self._keep_up())]
        self.events.start()

    async def stop(self) -> None:
        if self._tasks:
            moving, upkeep = self._tasks
            upkeep.cancel()
            await asyncio.gather(self._mover.stop(moving), self.events.stop())
            await asyncio.gather(upkeep, return_exceptions=True)
            self._tasks = []
        self.settle()
        await self._writer.stop()
        self._spool.close()

    def begin(self, kind: str, address: str | None, request_id: str, headers: Iterable[tuple[bytes, bytes]]) -> Record:
        """A request has come; its record puts itself when the answer has ended."""
        return begin(self, kind, address, request_id, headers)

    def put(self, entry: Entry) -> None:
        """Never waits for the database, and never raises: when it returns, the entry outlives the process, or its
        loss is counted and logged."""
        self._put(lambda: entry)

    def put_soon(self, finish: Callable[[], Entry]) -> None:
        """`finish` is called, and its entry put, by the next `settle` or the next turn of the event loop. Answers end
        in bunches, with the engine's steps: together they cost one write, and half of the time that each takes alone.
        """
        if not self._ending:
            asyncio.get_running_loop().call_soon(self.settle)
        self._ending.append(finish)

    def settle(self) -> None:
        """Puts what `put_soon` was told of."""
        if not self._ending:
            return
        ending, self._ending = self._ending, []
        try:
            self._spool.append(*[self._row(finish()) for finish in ending])
        except Exception:  # which of them it was is found one by one
            for finish in ending:
                self._put(finish)
        else:
            self._metrics.accepted += len(ending)

    def _put(self, finish: Callable[[], Entry]) -> None:
        try:
            self._spool.append(self._row(finish()))
        except SpoolFull:
            self._lose("full", "the spool is full: the database has taken none for long")
        except OSError as error:
            self._lose("disk", f"the spool's disk does not take them: {error.strerror}")
        except Exception:
            self._metrics.lost.labels("bug").inc()
            log.exception("a bug: an entry of the journal is lost")
        else:
            self._metrics.accepted += 1

    def _row(self, entry: Entry) -> bytes:
        hide, own = self._mask.hide, entry.secrets
        request, response = (entry.request, entry.response) if self._with_content else (None, None)
        if request is not None:
            request = hide(request, own)
            as_json = journal_rows.json_without_nul if entry.request_is_json else journal_rows.json_string
            request = as_json(request)
        if response is not None:
            response = journal_rows.json_without_nul(hide(response, own))
        model = entry.model
        if model is not None:
            model = self._mask.hide_text(model[:LONGEST_NAME].replace("\0", "\ufffd"), own)
        return journal_rows.encode(
            journal_rows.make_id(entry.request_us),
            self._config.id,
            entry.request_us,
            entry.response_us,
            entry.status_code,
            entry.cancelled,
            entry.duration_ms,
            entry.prompt_tokens,
            entry.completion_tokens,
            entry.ttft_ms,
            (
                entry.address,
                entry.username,
                entry.kind,
                self._mask.hide_text(entry.request_id, own),
                model,
                entry.finish_reason,
            ),
            (request, response),
        )

    def _lose(self, reason: str, sentence: str) -> None:
        self._metrics.lost.labels(reason).inc()
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            log.error("entries of the journal are lost, %s", sentence)

    async def _keep_up(self) -> None:
        """Partitions ahead of time, retention behind it."""
        failures = 0
        while True:
            seconds: float = UPKEEP_EVERY_S
            try:
                await self._writer.upkeep(*self._days)
                failures = 0
            except UnavailableError as error:
                seconds = UPKEEP_RETRY_S
                failures += 1
                if failures == 2:  # the first may be the start's
                    log.warning("the journal's upkeep waits for its database: %s", error.message)
            except Exception:
                log.exception("the journal's upkeep failed")
            await asyncio.sleep(seconds)


def make_config(settings: dict[str, Any]) -> Config:
    """The id comes from the digest, so that nobody needs to ask the database for it."""
    digest = hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).digest()
    return Config(int.from_bytes(digest[:8], "big") >> 1, digest, settings)
