"""Past a screen: an engine's own outputs go on as far as what they say has passed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from kodify.engine.base import Delta, Job, Screener
from kodify.errors import EngineFailedError


class Passage:
    """The answer that a screen stands before, of a job with one choice. Outputs are held whole and go on unchanged.

    `lag`: characters that an output's tokens may be ahead of its text. `reason`: why the screen ended it, if it did.
    """

    def __init__(self, job: Job, screen: Screener, lag: int = 0) -> None:
        self.finished = False
        self.first_at = 0.0
        self.completion_tokens = 0
        self.reason: str | None = None
        self._screening = screen(job, self)
        self._lag = lag
        self._held: deque[tuple[int, Any]] = deque()  # with how much has to have passed
        self._said = 0
        self._passed = 0
        self._last: Delta | None = None
        self._through: asyncio.Queue[Any] = asyncio.Queue()  # None: there is no more
        self._error: Exception | None = None
        self._reading: asyncio.Task[None] | None = None

    async def through(self, outputs: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """Of `outputs`, which say each time what is new, those that may be told. Not begun where the prompt may not."""
        try:
            if await self._screening.admit():
                self._reading = asyncio.create_task(self._read(outputs))
                self._screening.bind(self)
            while (output := await self._through.get()) is not None:
                yield output
            if self._error is not None:
                raise self._error
        finally:
            self._screening.close()
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.wait({self._reading})

    def cancel(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    def emit(self, delta: Delta) -> None:
        self._passed += len(delta.text)
        ends = delta.finish_reason is not None
        if ends and delta is not self._last:
            self.reason = delta.finish_reason
            self._held.clear()
        while self._held and (ends or self._held[0][0] <= self._passed):
            self._through.put_nowait(self._held.popleft()[1])
        if ends:
            self._end()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._end()

    def _end(self) -> None:
        self.finished = True
        self._through.put_nowait(None)

    async def _read(self, outputs: AsyncGenerator[Any, None]) -> None:
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    (choice,) = output.outputs
                    delta = Delta(0, choice.text, finish_reason=choice.finish_reason)
                    if choice.finish_reason is not None:
                        self._last = delta
                    self._said += len(choice.text)
                    self._held.append((self._said + self._lag, output))
                    self._screening.emit(delta)
            if self._last is None:
                raise EngineFailedError()
        except Exception as error:
            self._screening.fail(error)
