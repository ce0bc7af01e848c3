"""An ASGI response that synchronous code writes; what one engine step says is sent at the end of the loop's turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from starlette.types import Message, Scope, Send

from kodify.line import Line

log = logging.getLogger(__name__)

# In a request's scope, the server's: is told how many bytes of a stream wait while its client is slow, and whether
# others wait for the engine; it may cut the stream.
WAITING = "kodify.waiting"

Headers = tuple[tuple[bytes, bytes], ...]
JSON: Headers = ((b"content-type", b"application/json"),)
EVENT_STREAM: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def weigher(scope: Scope, line: Line | None) -> Callable[[int], object] | None:
    """For the outlet of a stream that the engine of this line makes."""
    weigh = scope.get(WAITING)
    return None if weigh is None else lambda waiting: weigh(waiting, line is not None and line.waiting > 0)


class Outlet:
    """Where an answer's bytes go: an engine step calls `write` and goes on.

    An engine step writes to many outlets. Each send is a system call that wakes whoever reads the other end, so
    they are kept until the step is through and made one after the other, one for each outlet; several steps that were
    handled in one turn of the loop share one.

    A server's `send` suspends only while the client is slower than its answer. So the first step of the coroutine
    is run on the spot, and a task is started only for one that suspends; what is written meanwhile waits in order.
    """

    def __init__(
        self,
        turn: Turn,
        send: Send,
        body_send: Send | None = None,
        on_broken: Callable[[], object] | None = None,
        on_waiting: Callable[[int], object] | None = None,
    ) -> None:
        """`body_send` is a shorter way for what follows the start message, past layers that don't look at it.
        `on_broken` is told when sending fails in another way than by the client's leaving, `on_waiting` how many bytes
        wait for a slow client, at the end of each turn that adds to them."""
        self._turn = turn
        self._on_broken = on_broken
        self._on_waiting = on_waiting
        self._send = send
        self._body_send = body_send or send
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._weighed_parts, self._waiting_bytes = 0, 0  # of a slow client's
        self._queued = False
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()  # once: it asks the kernel for the process's id each time
        self.opened = False
        self.closed = False

    def open(self, status: int, headers: Headers) -> None:
        """The start of the answer: goes out with the first write."""
        self.opened = True
        self._start = {"type": "http.response.start", "status": status, "headers": list(headers)}

    def write(self, data: bytes, *, last: bool = False) -> None:
        if self.closed:
            return
        self.closed = last
        self._parts.append(data)
        if not self._queued:
            self._queued = True
            self._turn.add(self, self._loop)

    def answer(self, data: bytes, status: int = 200, headers: Headers | None = None) -> None:
        """A whole answer at once."""
        self.open(status, (*(headers or JSON), (b"content-length", b"%d" % len(data))))
        self.write(data, last=True)

    def flush(self) -> None:
        """Sends what is written. Does not raise: it stands among other answers' flushes."""
        self._queued = False
        if self._task is not None:
            self._weigh()
            return  # it goes on with what is written by now
        try:
            while (sending := self._next()) is not None:
                try:
                    blocker = sending.send(None)
                except StopIteration:
                    continue
                self._task = asyncio.create_task(self._go_on(sending, blocker))
                return
        except Exception as error:
            self._break(error)

    async def drained(self) -> None:
        """Returns when nothing waits any more."""
        self.flush()
        if self._task is not None:
            await asyncio.wait({self._task})

    def abandon(self) -> None:
        """The client has left: nothing more is written."""
        self.closed = True
        self._start = None
        self._parts.clear()
        if self._task is not None:
            self._task.cancel()

    def _next(self) -> Any:
        """The sending of what waits, a coroutine (ASGI asks for an `async def`); None where nothing does."""
        if self._start is not None:
            message, self._start = self._start, None
            return self._send(message)
        parts = self._parts
        if not parts:
            return None
        if self.closed:
            self._turn.settle()
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return self._body_send({"type": "http.response.body", "body": data, "more_body": not self.closed})

    def _weigh(self) -> None:
        """A stream goes on and on; what waits of an answer that is whole grows no more."""
        if self._on_waiting is None or self.closed:
            return
        self._waiting_bytes += sum(map(len, self._parts[self._weighed_parts :]))
        self._weighed_parts = len(self._parts)
        self._on_waiting(self._waiting_bytes)

    async def _go_on(self, sending: Coroutine[Any, Any, None], blocker: Any) -> None:
        try:
            await _Rest(sending, blocker)
            while True:
                taken_bytes = sum(map(len, self._parts))
                following = self._next()
                if following is None:
                    return
                self._weighed_parts, self._waiting_bytes = 0, taken_bytes
                await following
        except Exception as error:
            self._task = None
            self._break(error)
        finally:
            self._task = None
            self._weighed_parts = self._waiting_bytes = 0

    def _break(self, error: Exception) -> None:
        self.abandon()
        if isinstance(error, OSError):
            return  # the connection broke; the watch on the client ends the job
        log.error("an answer could not be sent", exc_info=error)
        if self._on_broken is not None:
            self._on_broken()


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


class Turn:
    """The outlets that were written to in the event loop's present turn. One for each app."""

    def __init__(self, settle: Callable[[], None] = lambda: None) -> None:
        """`settle` is called before any answer's last bytes are sent."""
        self.settle = settle
        self._outlets: list[Outlet] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, outlet: Outlet, loop: asyncio.AbstractEventLoop) -> None:
        if self._outlets and self._loop is loop:
            self._outlets.append(outlet)
            return
        self._loop, self._outlets = loop, [outlet]
        loop.call_soon(self._end)

    def _end(self) -> None:
        outlets, self._outlets = self._outlets, []
        for outlet in outlets:
            outlet.flush()
