"""The life of one connection: taken or turned away, waited for, written to, ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Literal

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from kodify.api import errors
from kodify.api.middleware import NOSNIFF, REFUSAL
from kodify.connections import Connections, Reason
from kodify.errors import CROWDED, KodifyError, RequestTimeoutError, UnavailableError

LINGER_S = 1.0
SURPLUS_S = 1.0  # in which a connection too many must have said what it wants: it may be a probe
HURRY = 8  # a stream may wait unread with so much less where others wait for the engine
LEAST_READ_BYTES = 16 * 1024  # of an answer, in UNREAD_TIMEOUT_S: a byte now and then is no reading


class Connection(HttpToolsProtocol):
    """A connection with one timer, which a request that comes whole and an answer that is read don't touch.

    The server waits for a request's head, then for its body, each for a while: `_part` is what it waits for, "" while
    there is none. An answer that is not read holds its connection for a while too: nothing may be stuck in it for
    longer than that.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections: Connections = config.app.state.connections  # type: ignore[union-attr]
        self.timeout_keep_alive = self._connections.keepalive_s
        self._part: Literal["", "head", "body"] = "head"
        self._deadline = 0.0  # of the part; 0 until it is known that the part does not come at once
        self._stuck_at, self._stuck_bytes = 0.0, 0  # 0: nothing is
        self._running: RequestResponseCycle | None = None
        self._is_refused = False
        self._is_surplus = False  # one too many: for probes only
        self._address = ""
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        if self._connections.enter(self._address):
            self._bound_kernel(transport)
            self._wait()
            return
        if self._connections.may_tell(self._address):
            self._is_surplus = True
            self._bound_kernel(transport)
            self._wait()
        else:
            self._connections.count_cut("too_many")
            self._is_refused = True
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self._address)
        if isinstance(exc, TimeoutError):
            self._connections.count_cut("unread")
        if self._timer is not None:
            self._timer.cancel()
        self._is_refused = True
        self._drop_requests()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # what a client does not read

    def _bound_kernel(self, transport: asyncio.Transport) -> None:
        """The kernel takes some megabytes of an answer over, and would keep them for a silent client for as long as
        that one likes."""
        plain, option = transport.get_extra_info("socket"), getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux's
        if plain is not None and option is not None:
            with contextlib.suppress(OSError):
                plain.setsockopt(socket.IPPROTO_TCP, option, int(self._connections.unread_timeout_s * 1000))

    def weigh(self, waiting_bytes: int, others_wait: bool) -> None:
        """Told how much of a stream waits for its client beside what the transport holds, and whether others wait for
        the engine that makes it."""
        most_bytes = self._connections.max_unread_bytes // (HURRY if others_wait else 1)
        if waiting_bytes + self.transport.get_write_buffer_size() > most_bytes and not self._is_refused:
            self._cut("unread")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck_at = 0.0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_unread()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_unread()

    def _wait_for_next(self) -> None:
        """For as long as uvicorn waits where the answer is the last to be complete, not the request."""
        self._unset_keepalive_if_required()
        if not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _watch_unread(self) -> None:
        """A transport closes only when all is written: what is stuck would keep it for ever."""
        self._stuck_bytes = self.transport.get_write_buffer_size()
        if self._stuck_bytes:
            self._stuck_at = self.loop.time()
            self._look_at(self._stuck_at + self._connections.unread_timeout_s)

    # patience

    def _wait(self) -> None:
        """Until what is missing of the part comes, or its time is over."""
        if not self._deadline:
            self._deadline = self.loop.time() + self._patience_s
        self._look_at(self._deadline)

    @property
    def _patience_s(self) -> float:
        if self._is_surplus:
            return SURPLUS_S
        return self._connections.header_timeout_s if self._part == "head" else self._connections.body_timeout_s

    def _look_at(self, moment: float) -> None:
        if self._timer is not None:
            if self._due <= moment:
                return
            self._timer.cancel()
        self._due = moment
        self._timer = self.loop.call_at(moment, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.loop.time()
        if self._stuck_at:
            stuck_bytes = self.transport.get_write_buffer_size()
            if not stuck_bytes or stuck_bytes <= self._stuck_bytes - LEAST_READ_BYTES:
                self._stuck_at, self._stuck_bytes = now if stuck_bytes else 0.0, stuck_bytes
            elif now >= self._stuck_at + self._connections.unread_timeout_s:
                self._cut("unread")
                return
        if self._part and now >= self._deadline:
            if not self._is_held_up:
                self._give_up()
                return
            self._deadline = now + self._patience_s
        if self._stuck_at:
            self._look_at(self._stuck_at + self._connections.unread_timeout_s)
        if self._part:
            self._look_at(self._deadline)

    @property
    def _is_held_up(self) -> bool:
        """Whether the server does not read on yet, or is at an earlier request."""
        if self._part == "head":
            return self.cycle is not None and not self.cycle.response_complete
        return self.flow.read_paused or self._running is not self.cycle

    def _give_up(self) -> None:
        if self._is_surplus:
            self._connections.count_cut("too_many")
            self._refuse(UnavailableError(CROWDED))
        elif self._part == "head" or self.cycle.response_started:
            self._cut("header_timeout" if self._part == "head" else "body_timeout")
        else:
            self._connections.count_cut("body_timeout")
            self._refuse(RequestTimeoutError())

    # the end

    def _refuse(self, error: KodifyError) -> None:
        """Answers in the requests' place, and closes.

        What comes meanwhile is read and dropped: a connection that is closed with something unread is reset, and the
        answer may be lost with it.
        """
        if self._is_refused:
            return
        running, is_reading_body = self._running, self._part == "body"
        under_way = running is not None and running.response_started and not running.response_complete
        self._is_refused, self._part = True, ""
        self._unset_keepalive_if_required()
        self._drop_requests(error)
        if under_way or (is_reading_body and self.cycle.response_started):
            self.transport.close()
            self._watch_unread()
            return
        content = errors.body(error)
        lines = [b"%b: %b\r\n" % header for header in errors.headers(error) if header[0] != b"connection"]
        lines += [b"%b: %b\r\n" % NOSNIFF, b"content-length: %d\r\nconnection: close\r\n\r\n" % len(content), content]
        self.transport.write(STATUS_LINE[error.status] + b"".join(lines))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _cut(self, reason: Reason) -> None:
        self._connections.count_cut(reason)
        self._is_refused, self._part = True, ""
        self.transport.abort()

    def _drop_requests(self, refusal: KodifyError | None = None) -> None:
        """uvicorn tells a client's leaving to the latest request only. `refusal`: what the client is told."""
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                if refusal is not None and not cycle.response_started:
                    cycle.scope[REFUSAL] = refusal  # type: ignore[literal-required]
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
