"""The neutral middle: a job runs on the engine into a sink, once, and stops when its client leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from kodify import serving
from kodify.engine.base import Engine, Job, Screening, Sink, Ticket
from kodify.journal import Record
from kodify.line import Line
from kodify.metrics import Metrics
from kodify.recording import Recorder, Told


class Answer(Told, Protocol):
    """A sink that knows when it has all, and keeps what metrics and journal want of it."""

    failed: bool
    submitted: bool  # to the engine: it costs its user something


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
    screen: Screening | None = None,
    line: Line | None = None,
    who: str = "",
) -> None:
    """Returns when the client has its answer or has left; then nothing of the job runs on.

    `client_left()` must return on both: the watch is one wait for a request, not a second task. `record` is the
    request's in the journal, which ends with the answer. Before the answer stands `screen`, before that `narrowed`.
    In the `line` of the engine it stands for `who`. Raises UnavailableError where that is full.
    """
    started = time.monotonic()
    recorder = None if record is None else Recorder(answer, record, job)
    admitted = screen is None or await _first(screen.admit(), client_left)
    submitted = started
    if screen is not None:
        serving.stage("censor", started)
        submitted = time.monotonic()
    before = [sink for sink in (narrowed, screen) if sink is not None]
    place = ticket = None
    try:
        if admitted and line is not None:
            place = line.enter(who, job.choices * len(job.prompts), job.prompt_tokens, is_quick=job.priority < 0)
            if place.turn is not None:
                await _first(place.turn, client_left)
                serving.stage("queue", submitted)
                submitted = time.monotonic()
            if place.ahead:
                job = replace(job, ahead=place.ahead)
            admitted = place.granted and not answer.finished
        if admitted:
            if line is not None and place is not None:
                answer.on_end = _and_then(answer.on_end, partial(line.leave, place))  # a client may read on for long
            ticket = await engine.submit(job, narrowed or screen or answer)
            answer.submitted = True
            for sink in before:
                sink.bind(ticket)
    except BaseException:
        if line is not None and place is not None:
            line.leave(place)
        if ticket is not None:
            ticket.cancel()
        raise
    cut = False
    try:
        await client_left()
    except asyncio.CancelledError:
        cut = True
        raise
    finally:
        if line is not None and place is not None:
            line.leave(place)
        for sink in before:
            sink.close()
        if recorder is not None:
            recorder.leave(cut=cut)
        answer.on_end = None
        # A job that failed may still be running for its other prompts.
        if ticket is not None and (answer.failed or not answer.finished):
            ticket.cancel()
        if not answer.finished:
            metrics.cancelled.inc()
        if ticket is not None:
            tell(
                metrics,
                job.model,
                started,
                submitted,
                first_at=answer.first_at,
                tokens=(job.prompt_tokens, answer.completion_tokens),
                reasons=answer.reasons,
                status=answer.status,
                cancelled=not answer.finished,
            )


def tell(
    metrics: Metrics,
    model: str,
    started: float,
    submitted: float,
    *,
    first_at: float,
    tokens: tuple[int, int],
    reasons: Sequence[str],
    status: int,
    cancelled: bool,
) -> None:
    """Metrics and trace, of an answer that has ended. `started`: when its way began, `submitted`: the engine's part;
    `first_at`: its first text, 0 for none; `tokens`: read and written."""
    prompt_tokens, completion_tokens = tokens
    metrics.observe_generation(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        first_delta_s=first_at - started if first_at else None,
    )
    serving.generated(
        model=model,
        began=submitted,
        first_at=first_at,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        reasons=reasons,
        status=status,
        cancelled=cancelled,
    )


def _and_then(first: Callable[[], None] | None, second: Callable[[], None]) -> Callable[[], None]:
    if first is None:
        return second

    def both() -> None:
        first()
        second()

    return both


async def _first(working: Awaitable[Any], client_left: Callable[[], Awaitable[None]]) -> Any:
    """What came of it; None where nobody waits for it any more."""
    checking, leaving = asyncio.ensure_future(working), asyncio.ensure_future(client_left())
    try:
        await asyncio.wait({checking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return checking.result() if checking.done() else None
    finally:
        checking.cancel()
        leaving.cancel()
        await asyncio.gather(checking, leaving, return_exceptions=True)
