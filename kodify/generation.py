"""The neutral middle: a job runs on the engine into a sink, once, and stops when its client leaves."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from kodify.engine.base import Delta, Engine, Job, Sink
from kodify.metrics import Metrics


class Answer(Sink, Protocol):
    """A sink that knows when it has all."""

    @property
    def finished(self) -> bool:
        """The last choice has ended, or the job has failed."""


class _Observed:
    """Passes deltas on and keeps what the metrics want of them."""

    __slots__ = ("_answer", "completion_tokens", "failed", "first_at")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.completion_tokens = 0
        self.first_at = 0.0
        self.failed = False

    def emit(self, delta: Delta) -> None:
        if not self.first_at:
            self.first_at = time.monotonic()
        self.completion_tokens += len(delta.token_ids)
        self._answer.emit(delta)

    def fail(self, error: Exception) -> None:
        self.failed = True
        self._answer.fail(error)


async def run(
    engine: Engine, job: Job, answer: Answer, client_left: Callable[[], Awaitable[None]], metrics: Metrics
) -> None:
    """Returns when the client has its answer or has left; then nothing of the job runs on.

    `client_left()` must return on both: the watch is one wait for a request, not a second task.
    """
    started = time.monotonic()
    observed = _Observed(answer)
    ticket = await engine.submit(job, observed)
    try:
        await client_left()
    finally:
        # A job that failed may still be running for its other prompts.
        if observed.failed or not answer.finished:
            ticket.cancel()
        if not answer.finished:
            metrics.cancelled.inc()
        metrics.observe_generation(
            prompt_tokens=job.prompt_tokens,
            completion_tokens=observed.completion_tokens,
            first_delta_s=observed.first_at - started if observed.first_at else None,
        )
