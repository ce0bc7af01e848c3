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

from kodify import generation
from kodify.api import errors
from kodify.api.middleware import BODY_SEND
from kodify.api.models import find_engine, who_asks
from kodify.api.outlet import EVENT_STREAM, JSON, Headers, Outlet, weigher
from kodify.api.record import record_of
from kodify.api.running import Shown, asked_by
from kodify.censor import REASON, Censor
from kodify.engine.base import Dialect, DialectEngine, Event, Progress, Screener
from kodify.errors import KodifyError, NotFoundError
from kodify.journal import CUT, LEFT, Record
from kodify.line import Line, Place
from kodify.metrics import Metrics

BYTES_A_TOKEN = 4  # of a body, about


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

    def blocked_event(self, event: Event, progress: Progress) -> Event | None:
        """The same of those that end a stream which the censor has cut; None: it is not told."""
        return event

    def blocked(self, answer: dict[str, Any]) -> dict[str, Any]:
        """A whole answer that the censor has emptied."""
        return answer

    def assembled(self, events: list[Event]) -> dict[str, Any]:
        """The whole answer of a stream's events, as far as they came."""
        raise NotImplementedError

    def finish_reason(self, answer: dict[str, Any], reason: str | None) -> str | None:
        """In the journal's words; `reason` is the engine's."""
        return reason


class ServedResponse(Response):
    """Runs the request when Starlette sends the response."""

    def __init__(
        self,
        request: Request,
        engine: DialectEngine,
        model: str,
        dialect: Dialect,
        body: dict[str, Any],
        voice: Voice,
        screener: Screener | None,
        line: Line | None,
        expected_tokens: int,
    ) -> None:
        """`line`: where it waits for the engine. `expected_tokens`: of the prompt, which the engine counts later."""
        self.engine = engine
        self.model = model
        self.line = line
        self.expected_tokens = expected_tokens
        self.who = who_asks(request)
        self.asked = asked_by(request)
        self.screener = screener
        self.dialect: Dialect = dialect
        self.request_body = body
        self.voice = voice
        self.metrics: Metrics = request.app.state.metrics
        self.progress = Progress()
        self.background = None
        self._record: Record | None = None
        self._place: Place | None = None
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
        self._outlet = Outlet(
            scope["app"].state.turn, send, scope.get(BODY_SEND), own_task.cancel, weigher(scope, self.line)
        )
        started = time.monotonic()
        running: set[Any] = scope["app"].state.running
        running.add(self)
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
            running.discard(self)
            work.cancel()
            self._leave(started, cut=cut)
        await asyncio.wait({work})
        await self._outlet.drained()

    def shown(self) -> Shown:
        streams = self.request_body.get("stream") is True
        told = self.progress.completion_tokens
        return Shown(self.model, streams, self.progress.prompt_tokens or None, told if streams or told else None)

    def cut(self, error: KodifyError) -> None:
        """Ends the answer as it is."""
        self._fail(error)

    async def _work(self) -> None:
        try:
            if self.screener is None:
                await self._enter()
            else:
                self.progress.enter = self._enter
            answer = await self.engine.serve(self.dialect, self.request_body, self.progress, self.screener)
            if isinstance(answer, dict):
                self._answer = self.voice.whole(answer)
                if self._is_blocked():
                    self._answer = self.voice.blocked(self._answer)
                self._end(orjson.dumps(self._answer))
            else:
                await self._stream(answer)
        except Exception as error:
            self._fail(errors.public(error))
        finally:
            self.progress.enter = None
            if self.line is not None and self._place is not None:
                self.line.leave(self._place)

    async def _enter(self) -> None:
        """Takes a place in the line, once, and waits for its turn."""
        if self.line is None or self._place is not None:
            return
        self._place = place = self.line.enter(self.who, 1, self.expected_tokens)
        if place.turn is not None:
            await place.turn
        self.progress.ahead = place.ahead

    async def _stream(self, events: AsyncGenerator[Event, None]) -> None:
        held = b""
        async with aclosing(events):
            async for event in events:
                told = self._told(event)
                if told is None:
                    continue
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

    def _told(self, event: Event) -> Event | None:
        told = self.voice.event(event)
        return self.voice.blocked_event(told, self.progress) if self._is_blocked() else told

    def _is_blocked(self) -> bool:
        return self.screener is not None and self.progress.finish_reason == REASON

    def _fail(self, error: KodifyError) -> None:
        """Before the headers: an error with its status. After: one event, the last."""
        if self._finished:
            return
        self._error = errors.kept(error)
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
        progress, finished = self.progress, self._finished
        if not finished:
            self._finished = True
            self._outlet.abandon()
            self.metrics.cancelled.inc()
            if self._record is not None:
                self._record.end_with(lambda: self._entry(CUT if cut else LEFT, cancelled=True))
        generation.tell(
            self.metrics,
            self.model,
            started,
            started,
            first_at=progress.first_at,
            tokens=(progress.prompt_tokens, progress.completion_tokens),
            reasons=(progress.finish_reason,) if progress.finish_reason else (),
            status=200 if self._error is None else self._error.status,
            cancelled=not finished,
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
    """Raises NotFoundError for a model that is not served, or whose engine does not speak the dialect, or not where a
    censor could listen."""
    state = request.app.state
    generates = dialect in ("messages", "responses")
    censor: Censor | None = state.censor if generates else None
    engine = find_engine(request, body.get("model"))
    facts, path = engine.facts, request.url.path
    name = facts.names[0]
    if not isinstance(engine, DialectEngine):
        raise NotFoundError(f'The model "{name}" is not served at {path}.', param="model")
    screener: Screener | None = None
    if censor is not None:
        if not engine.screens_dialects:
            raise NotFoundError(
                f'The model "{name}" is not served at {path}: the censor could not check it there.', param="model"
            )
        screener = censor.screener(engine.vocabulary)
    record = record_of(request.scope)
    if record is not None and not record.model:
        record.model = name
    line = state.engines.line_of(engine) if generates else None
    if line is not None:
        line.refuse_if_full(who_asks(request))
    size = int(request.headers.get("content-length", 0))
    expected = min(size // BYTES_A_TOKEN, facts.context_tokens)  # a picture has many bytes
    return ServedResponse(request, engine, name, dialect, body, voice, screener, line, expected)
