"""The neutral middle: a job runs on the engine into a sink, once, and stops when its client leaves."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from kodify.engine.base import Engine, Job, Sink
from kodify.metrics import Metrics


class Answer(Sink, Protocol):
    """A sink that knows when it has all, and keeps what the metrics want of it."""

    @property
    def finished(self) -> bool:
        """The last choice has ended, or the job has failed."""

    @property
    def failed(self) -> bool: ...

    @property
    def completion_tokens(self) -> int: ...

    @property
    def first_at(self) -> float:
        """When the first delta came, on the monotonic clock; 0 before."""


async def run(
    engine: Engine, job: Job, answer: Answer, client_left: Callable[[], Awaitable[None]], metrics: Metrics
) -> None:
    """Returns when the client has its answer or has left; then nothing of the job runs on.

    `client_left()` must return on both: the watch is one wait for a request, not a second task.
    """
    started = time.monotonic()
    ticket = await engine.submit(job, answer)
    try:
        await client_left()
    finally:
        # A job that failed may still be running for its other prompts.
        if answer.failed or not answer.finished:
            ticket.cancel()
        if not answer.finished:
            metrics.cancelled.inc()
        metrics.observe_generation(
            prompt_tokens=job.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            first_delta_s=answer.first_at - started if answer.first_at else None,
        )
