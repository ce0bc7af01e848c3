"""Answers that the engine pushes: written from synchronous code, watched for the client's leaving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kodify import generation
from kodify.api import errors
from kodify.api.middleware import BODY_SEND
from kodify.api.models import who_asks
from kodify.api.outlet import Outlet, weigher
from kodify.api.record import record_of
from kodify.api.running import Shown, asked_by
from kodify.censor import Censor, Screen
from kodify.engine.base import Delta, Engine, Job
from kodify.errors import KodifyError
from kodify.line import Line
from kodify.metrics import Metrics

DONE = b"data: [DONE]\n\n"


class Encoder:
    """A dialect's answer: deltas in, bytes out through an Outlet. One for each request."""

    streams = False

    def __init__(self) -> None:
        self.outlet: Outlet
        self.finished = False
        self.status = 200
        self.error: KodifyError | None = None
        self.failed = False
        self.submitted = False
        self.completion_tokens = 0
        self.first_at = 0.0
        self.said: list[list[str]] | None = None
        self.rich: list[Delta] = []
        self.reasons: list[str] = []
        self.on_end: Callable[[], None] | None = None

    def attach(self, outlet: Outlet) -> None:
        self.outlet = outlet

    def emit(self, delta: Delta) -> None:
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """Before the headers: an error with its status. After: one frame, and no `[DONE]`."""
        if self.finished:
            return
        known = self._failed(error)
        if self.outlet.opened:
            self.outlet.write(b"data: " + errors.body(known) + b"\n\n", last=True)
        else:
            self.outlet.answer(errors.body(known), known.status, tuple(errors.headers(known)))
        self._end()

    def _failed(self, error: Exception) -> KodifyError:
        self.finished = self.failed = True
        known = self.error = errors.kept(errors.public(error))
        self.status = known.status
        return known

    def _end(self) -> None:
        """Everything is written; nothing of it has left yet."""
        self.finished = True
        told, self.on_end = self.on_end, None  # who is told knows this answer: together they would outlive the request
        if told is not None:
            told()

    def _keep(self, delta: Delta) -> None:
        """For the journal: a delta that is more than a piece of text."""
        if delta.finish_reason is not None:
            self.reasons.append(delta.finish_reason)
        if self.said is not None:
            self.said[delta.index].append(delta.text)
            self.rich.append(delta)

    def assembled(self, choices: Sequence[Delta]) -> bytes:
        """The answer as one JSON body, as far as it came; with what went wrong, where something did."""
        if self.error is not None and not self.completion_tokens:
            return errors.body(self.error)
        whole = self.whole(choices)
        if self.error is not None:
            whole["error"] = errors.fields(self.error)
        return orjson.dumps(whole)

    def plainly_assembled(self, text: str, last: Delta) -> bytes:
        raise NotImplementedError

    def whole(self, choices: Sequence[Delta]) -> dict[str, Any]:
        """`choices`: for a stream, what each has said; else those that were collected are taken."""
        raise NotImplementedError


class WholeEncoder(Encoder):
    """Collects every choice, then answers at once."""

    def __init__(self) -> None:
        super().__init__()
        self._body = b""

    def _answer(self) -> None:
        self._body = orjson.dumps(self.whole(()))
        self.outlet.answer(self._body)
        self._end()

    def assembled(self, choices: Sequence[Delta]) -> bytes:
        return self._body or super().assembled(choices)


class GeneratedResponse(Response):
    """Runs the job when Starlette sends the response; the encoder decides what that is."""

    def __init__(self, request: Request, engine: Engine, job: Job, encoder: Encoder) -> None:
        state = request.app.state
        censor: Censor | None = state.censor
        self.engine = engine
        self.job = job
        self.encoder = encoder
        self.metrics: Metrics = state.metrics
        self.line: Line | None = state.engines.line_of(engine)
        self.who = who_asks(request)
        self.asked = asked_by(request)
        self.background = None
        self.narrowed: generation.Narrowed | None = None
        self.screen = None if censor is None else censor.screen(job, engine.vocabulary, encoder)
        self.answer: Encoder | Screen = self.screen or encoder  # for the one that narrows it

    @property
    def tokens_used(self) -> int:
        """Read and written so far."""
        return self.job.prompt_tokens + self.encoder.completion_tokens if self.encoder.submitted else 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own_task = asyncio.current_task()
        assert own_task is not None
        outlet = Outlet(scope["app"].state.turn, send, scope.get(BODY_SEND), own_task.cancel, weigher(scope, self.line))
        self.encoder.attach(outlet)

        async def client_left() -> None:
            # Servers answer `http.disconnect` both when the client leaves and when the answer is complete.
            while (await receive())["type"] != "http.disconnect":
                pass

        running: set[Any] = scope["app"].state.running
        running.add(self)
        try:
            record = record_of(scope)
            await generation.run(
                self.engine,
                self.job,
                self.encoder,
                client_left,
                self.metrics,
                record,
                self.narrowed,
                self.screen,
                self.line,
                self.who,
            )
        finally:
            running.discard(self)
            if not self.encoder.finished:
                outlet.abandon()
        await outlet.drained()

    def shown(self) -> Shown:
        streams = self.encoder.streams
        told = self.encoder.completion_tokens if streams else None  # a whole one comes at once
        return Shown(self.job.model, streams, self.job.prompt_tokens or None, told)

    def cut(self, error: KodifyError) -> None:
        """Ends the answer as it is."""
        (self.narrowed or self.answer).fail(error)


def respond(request: Request, engine: Engine, job: Job, encoder: Encoder) -> GeneratedResponse:
    return GeneratedResponse(request, engine, job, encoder)
