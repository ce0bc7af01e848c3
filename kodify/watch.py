"""Looks after the engines that run here: tells when one has died or is stuck, and starts it again where it is to be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from kodify.engines import Engines, Served
from kodify.errors import KodifyError

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
LEAST_PAUSE_S, MOST_PAUSE_S = 1.0, 60.0  # before an engine is started again


class Watch:
    """`told` hears once of an engine that can't work any more, where engines are not started again."""

    def __init__(
        self, engines: Engines, registry: CollectorRegistry, told: Callable[[KodifyError], None], *, restarts: bool
    ) -> None:
        self._engines = engines
        self._told = told
        self._restarts = restarts
        self._starting: dict[Served, asyncio.Task[None]] = {}
        self._restarted = Counter(
            "kodify_engine_restarts", "Engines that were started again.", ["model"], registry=registry
        )

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                for served in self._engines.here:
                    if served not in self._starting and (error := await _illness(served)) is not None:
                        log.error("the engine of %s can't work: %s", served.name, error.message)
                        if not self._restarts:
                            return self._told(error)
                        self._begin(served)
        finally:
            for task in self._starting.values():
                task.cancel()
            await asyncio.gather(*self._starting.values(), return_exceptions=True)

    def _begin(self, served: Served) -> None:
        task = self._starting[served] = asyncio.create_task(self._restart(served))
        task.add_done_callback(lambda _: self._starting.pop(served, None))

    async def _restart(self, served: Served) -> None:
        pause_s = LEAST_PAUSE_S
        while True:
            try:
                await self._engines.restart(served)
            except Exception as error:
                reason = error.message if isinstance(error, KodifyError) else repr(error)
                log.error("the engine of %s does not start again, next try in %g s: %s", served.name, pause_s, reason)
            else:
                self._restarted.labels(served.name).inc()
                return log.warning("the engine of %s works again", served.name)
            await asyncio.sleep(pause_s)
            pause_s = min(MOST_PAUSE_S, pause_s * 2)


async def _illness(served: Served) -> KodifyError | None:
    try:
        await served.engine.check_health()
    except KodifyError as error:
        return error
    except Exception as error:
        log.exception("the engine of %s can't tell how it is", served.name)
        return KodifyError(repr(error))
    return None
