"""The neutral middle: a job runs on the engine into a sink, once, and stops when its client leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from kodify.engine.base import Engine, Job, Sink, Ticket
from kodify.journal import Record
from kodify.metrics import Metrics
from kodify.recording import Recorder, Told


class Answer(Told, Protocol):
    """A sink that knows when it has all, and keeps what metrics and journal want of it."""

    failed: bool


class Narrowed(Sink, Protocol):
    """A sink that hands on to the answer, and may know before the engine that it is whole."""

    def bind(self, ticket: Ticket) -> None: ...

    def close(self) -> None:
        """Nobody listens any more."""


async def run(
    engine: Engine,
    job: Job,
    answer: Answer,
    client_left: Callable[[], Awaitable[None]],
    metrics: Metrics,
    record: Record | None = None,
    narrowed: Narrowed | None = None,
) -> None:
    """Returns when the client has its answer or has left; then nothing of the job runs on.

    `client_left()` must return on both: the watch is one wait for a request, not a second task. `record` is the
    request's in the journal, which ends with the answer. `narrowed` stands before the answer.
    """
    started = time.monotonic()
    recorder = None if record is None else Recorder(answer, record, job)
    ticket = await engine.submit(job, narrowed or answer)
    cut = False
    try:
        if narrowed is not None:
            narrowed.bind(ticket)
        await client_left()
    except asyncio.CancelledError:
        cut = True
        raise
    finally:
        if narrowed is not None:
            narrowed.close()
        if recorder is not None:
            recorder.leave(cut=cut)
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
