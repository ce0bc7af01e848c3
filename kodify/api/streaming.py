"""Answers that the engine pushes: written from synchronous code, watched for the client's leaving."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Generator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from kodify import generation
from kodify.api import errors
from kodify.api.middleware import BODY_SEND
from kodify.engine.base import Delta, Engine, Job
from kodify.metrics import Metrics

Headers = tuple[tuple[bytes, bytes], ...]
JSON: Headers = ((b"content-type", b"application/json"),)
EVENT_STREAM: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
DONE = b"data: [DONE]\n\n"


class Outlet:
    """An ASGI response that synchronous code writes: an engine step calls `write` and goes on.

    A server's `send` suspends only while the client is slower than its answer. So the first step of the
    coroutine is run on the spot, and a task is started only for one that suspends; what is written
    meanwhile waits in order.
    """

    def __init__(self, send: Send, body_send: Send | None = None) -> None:
        """`body_send` is a shorter way for what follows the start message, past layers that don't look at it."""
        self._send = send
        self._body_send = body_send or send
        self._waiting: deque[Message] = deque()
        self._task: asyncio.Task[None] | None = None
        self.opened = False
        self.closed = False

    def open(self, status: int, headers: Headers) -> None:
        self.opened = True
        self._put({"type": "http.response.start", "status": status, "headers": list(headers)}, self._send)

    def write(self, data: bytes, *, last: bool = False) -> None:
        if not self.closed:
            self.closed = last
            self._put({"type": "http.response.body", "body": data, "more_body": not last}, self._body_send)

    def answer(self, data: bytes, status: int = 200, headers: Headers | None = None) -> None:
        """A whole answer at once."""
        self.open(status, (*(headers or JSON), (b"content-length", b"%d" % len(data))))
        self.write(data, last=True)

    async def drained(self) -> None:
        """Returns when nothing waits any more."""
        task = self._task
        if task is not None:
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def abandon(self) -> None:
        """The client has left: nothing more is written."""
        self.closed = True
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def _put(self, message: Message, send: Send) -> None:
        if self._task is not None:
            self._waiting.append(message)
            return
        sending: Any = send(message)  # a coroutine, with any server: ASGI asks for an `async def`
        try:
            blocker = sending.send(None)
        except StopIteration:
            return
        except OSError:  # the connection broke; the watch on the client ends the job
            self.closed = True
            return
        self._task = asyncio.create_task(self._go_on(sending, blocker))

    async def _go_on(self, sending: Coroutine[Any, Any, None], blocker: Any) -> None:
        try:
            await _Rest(sending, blocker)
            while self._waiting:
                await self._body_send(self._waiting.popleft())  # the start is always the first, so never waits
        except OSError:
            self.closed = True
            self._waiting.clear()
        finally:
            self._task = None


class _Rest:
    """Awaits a coroutine that has already been run up to its first suspension."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], blocker: Any) -> None:
        self._coroutine = coroutine
        self._blocker = blocker

    def __await__(self) -> Generator[Any, Any, None]:
        blocker = self._blocker
        while True:
            thrown: BaseException | None = None
            value: Any = None
            try:
                value = yield blocker
            except BaseException as error:
                thrown = error
            try:
                blocker = self._coroutine.send(value) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration:
                return


class Encoder:
    """A dialect's answer: deltas in, bytes out through an Outlet. One for each request."""

    def __init__(self) -> None:
        self.outlet: Outlet
        self.finished = False

    def attach(self, outlet: Outlet) -> None:
        self.outlet = outlet

    def emit(self, delta: Delta) -> None:
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """Before the headers: an error with its status. After: one frame, and no `[DONE]`."""
        if self.finished:
            return
        self.finished = True
        known = errors.public(error)
        if self.outlet.opened:
            self.outlet.write(b"data: " + errors.body(known) + b"\n\n", last=True)
        else:
            self.outlet.answer(errors.body(known), known.status, tuple(errors.headers(known)))


class GeneratedResponse(Response):
    """Runs the job when Starlette sends the response; the encoder decides what that is."""

    def __init__(self, engine: Engine, job: Job, encoder: Encoder, metrics: Metrics) -> None:
        self.engine = engine
        self.job = job
        self.encoder = encoder
        self.metrics = metrics
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outlet = Outlet(send, scope.get(BODY_SEND))
        self.encoder.attach(outlet)

        async def client_left() -> None:
            # Servers answer `http.disconnect` both when the client leaves and when the answer is complete.
            while (await receive())["type"] != "http.disconnect":
                pass

        try:
            await generation.run(self.engine, self.job, self.encoder, client_left, self.metrics)
        finally:
            if not self.encoder.finished:
                outlet.abandon()
        await outlet.drained()


def respond(request: Request, engine: Engine, job: Job, encoder: Encoder) -> GeneratedResponse:
    return GeneratedResponse(engine, job, encoder, request.app.state.metrics)
