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


class Screening(Narrowed, Protocol):
    """Lets a prompt in, and an answer out, or says why not."""

    async def admit(self) -> bool:
        """Whether the engine may have the job; if not, the answer has been told."""


async def run(
    engine: Engine,
    job: Job,
    answer: Answer,
    client_left: Callable[[], Awaitable[None]],
    metrics: Metrics,
    record: Record | None = None,
    narrowed: Narrowed | None = None,
    screen: Screening | None = None,
) -> None:
    """Returns when the client has its answer or has left; then nothing of the job runs on.

    `client_left()` must return on both: the watch is one wait for a request, not a second task. `record` is the
    request's in the journal, which ends with the answer. Before the answer stands `screen`, before that `narrowed`.
    """
    started = time.monotonic()
    recorder = None if record is None else Recorder(answer, record, job)
    admitted = screen is None or await _admitted(screen, client_left)
    ticket = await engine.submit(job, narrowed or screen or answer) if admitted else None
    before = [sink for sink in (narrowed, screen) if sink is not None]
    cut = False
    try:
        if ticket is not None:
            for sink in before:
                sink.bind(ticket)
        await client_left()
    except asyncio.CancelledError:
        cut = True
        raise
    finally:
        for sink in before:
            sink.close()
        if recorder is not None:
            recorder.leave(cut=cut)
        # A job that failed may still be running for its other prompts.
        if ticket is not None and (answer.failed or not answer.finished):
            ticket.cancel()
        if not answer.finished:
            metrics.cancelled.inc()
        metrics.observe_generation(
            prompt_tokens=job.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            first_delta_s=answer.first_at - started if answer.first_at else None,
        )


async def _admitted(screen: Screening, client_left: Callable[[], Awaitable[None]]) -> bool:
    """False too where nobody waits any more."""
    checking = asyncio.ensure_future(screen.admit())
    leaving = asyncio.ensure_future(client_left())
    try:
        await asyncio.wait({checking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return checking.done() and checking.result()
    finally:
        checking.cancel()
        leaving.cancel()
        await asyncio.gather(checking, leaving, return_exceptions=True)
