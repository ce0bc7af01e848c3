"""Answers in a dialect that the engine speaks by itself: sent, watched for the client's leaving, journaled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kodify.api import errors
from kodify.api.middleware import BODY_SEND
from kodify.api.models import find_engine
from kodify.api.outlet import EVENT_STREAM, JSON, Headers, Outlet
from kodify.api.record import record_of
from kodify.engine.base import Dialect, DialectEngine, Event, Progress
from kodify.errors import KodifyError, NotFoundError
from kodify.journal import CUT, LEFT, Record
from kodify.metrics import Metrics


class Voice:
    """What differs between dialects. One for each request."""

    early: frozenset[str] = frozenset()  # events that tell nothing yet: they wait for the first that does

    def error_body(self, error: KodifyError) -> bytes:
        return errors.body(error)

    def error_event(self, error: KodifyError) -> Event:
        raise NotImplementedError

    def event(self, event: Event) -> Event:
        """A stream's event on its way out."""
        return event

    def whole(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer

    def assembled(self, events: list[Event]) -> dict[str, Any]:
        """The whole answer of a stream's events, as far as they came."""
        raise NotImplementedError

    def finish_reason(self, answer: dict[str, Any], reason: str | None) -> str | None:
        """In the journal's words; `reason` is the engine's."""
        return reason


class ServedResponse(Response):
    """Runs the request when Starlette sends the response."""

    def __init__(self, engine: DialectEngine, dialect: Dialect, body: dict[str, Any], voice: Voice, metrics: Metrics):
        self.engine = engine
        self.dialect: Dialect = dialect
        self.request_body = body
        self.voice = voice
        self.metrics = metrics
        self.progress = Progress()
        self.background = None
        self._record: Record | None = None
        self._outlet: Outlet
        self._events: list[Event] = []  # what a stream has told, where there is a journal
        self._answer: dict[str, Any] | None = None
        self._error: KodifyError | None = None
        self._finished = False

    @property
    def tokens_used(self) -> int:
        """Read and written so far."""
        return self.progress.prompt_tokens + self.progress.completion_tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own_task = asyncio.current_task()
        assert own_task is not None
        self._record = record_of(scope)
        self._outlet = Outlet(scope["app"].state.turn, send, scope.get(BODY_SEND), on_broken=own_task.cancel)
        started = time.monotonic()
        work = asyncio.create_task(self._work())
        cut = False
        try:
            # Servers answer `http.disconnect` both when the client leaves and when the answer is complete.
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            cut = True
            raise
        finally:
            work.cancel()
            self._leave(started, cut=cut)
        await asyncio.wait({work})
        await self._outlet.drained()

    async def _work(self) -> None:
        try:
            answer = await self.engine.serve(self.dialect, self.request_body, self.progress)
            if isinstance(answer, dict):
                self._answer = self.voice.whole(answer)
                self._end(orjson.dumps(self._answer))
            else:
                await self._stream(answer)
        except Exception as error:
            self._fail(errors.public(error))

    async def _stream(self, events: AsyncGenerator[Event, None]) -> None:
        held = b""
        async with aclosing(events):
            async for event in events:
                told = self.voice.event(event)
                if self._record is not None:
                    self._events.append(told)
                if self._outlet.opened:
                    self._outlet.write(framed(told))
                    continue
                held += framed(told)
                if told.name not in self.voice.early:
                    self._outlet.open(200, EVENT_STREAM)
                    self._outlet.write(held)
                    held = b""
        if not self._outlet.opened:
            self._outlet.open(200, EVENT_STREAM)
        self._end(held)

    def _fail(self, error: KodifyError) -> None:
        """Before the headers: an error with its status. After: one event, the last."""
        if self._finished:
            return
        self._error = error
        if self._outlet.opened:
            self._end(framed(self.voice.error_event(error)))
        else:
            self._end(self.voice.error_body(error), error.status, tuple(errors.headers(error)))

    def _end(self, data: bytes, status: int = 200, headers: Headers = JSON) -> None:
        """The answer's last bytes, or all of it."""
        if self._finished:
            return
        self._finished = True
        if self._record is not None:
            self._record.end_with(self._entry, soon=True)
        if self._outlet.opened:
            self._outlet.write(data, last=True)
        else:
            self._outlet.answer(data, status, headers)

    def _leave(self, started: float, *, cut: bool) -> None:
        """The client has its answer, or has left, or (`cut`) the server stopped."""
        progress = self.progress
        if not self._finished:
            self._finished = True
            self._outlet.abandon()
            self.metrics.cancelled.inc()
            if self._record is not None:
                self._record.end_with(lambda: self._entry(CUT if cut else LEFT, cancelled=True))
        if progress.first_at:
            self.metrics.observe_generation(
                prompt_tokens=progress.prompt_tokens,
                completion_tokens=progress.completion_tokens,
                first_delta_s=progress.first_at - started,
            )

    def _entry(self, status: int | None = None, *, cancelled: bool = False) -> Record:
        record, progress, error = self._record, self.progress, self._error
        assert record is not None
        answer = self._answer
        if answer is None and self._events:
            answer = self.voice.assembled(self._events)
        told = dict(answer or {})
        if error is not None:
            told = {**told, "error": errors.fields(error)} if told else orjson.loads(errors.body(error))
        record.prompt_tokens = progress.prompt_tokens or None
        record.fill(
            status or (200 if error is None else error.status),
            orjson.dumps(told) if told else None,
            completion_tokens=progress.completion_tokens,
            first_at=progress.first_at if self._events else 0.0,
            finish_reason=None if answer is None else self.voice.finish_reason(answer, progress.finish_reason),
            cancelled=cancelled,
        )
        return record


def framed(event: Event) -> bytes:
    return b"event: " + event.name.encode() + b"\ndata: " + event.data + b"\n\n"


def respond(request: Request, dialect: Dialect, body: dict[str, Any], voice: Voice) -> ServedResponse:
    """Raises NotFoundError for a model that is not served, or whose engine does not speak the dialect."""
    state = request.app.state
    if state.censor is not None and dialect in ("messages", "responses"):
        raise NotFoundError(f"{request.url.path} is not served where a censor checks the answers.")
    model = body.get("model")
    engine = find_engine(request, model)
    if not isinstance(engine, DialectEngine):
        raise NotFoundError(f'The model "{engine.facts.names[0]}" is not served at {request.url.path}.', param="model")
    record = record_of(request.scope)
    if record is not None and not record.model:
        record.model = engine.facts.names[0]
    return ServedResponse(engine, dialect, body, voice, state.metrics)
