"""A WebSocket on the wire: uvicorn's, with the bounds of any connection."""

from __future__ import annotations

import asyncio
import logging
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from kodify.connections import Connections, Reason

PING_EVERY_S = 20.0
PONG_WITHIN_S = 20.0


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Takes an HTTP connection over, which was counted there and is discounted here.

    A message must be whole within the time of a request's body. Who does not read is cut off: what waits to be written
    may be stuck for only so long, and while anything is, nothing more is read.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = logging.getLogger("kodify.websocket")
        self.logger.setLevel(logging.CRITICAL)  # uvicorn's lines tell paths, and of each client's wrong bytes
        self._connections: Connections = config.app.state.connections  # type: ignore[union-attr]
        self._address = ""
        self._unread: asyncio.TimerHandle | None = None
        self._unsaid: asyncio.TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._connections.sockets += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.sockets -= 1
        self._connections.leave(self._address)
        if isinstance(exc, TimeoutError):  # the kernel's, of what it could not send
            self._connections.count_cut("unread")
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return self._stop_unsaid()
        if not (self.frames or self.conn.reader.buffer):
            self._stop_unsaid()
        elif self._unsaid is None:
            self._unsaid = self.loop.call_later(self._connections.body_timeout_s, self._cut, "body_timeout")

    def handle_ping(self) -> None:
        answer = b"".join(self.conn.data_to_send())
        if self.writable.is_set():  # who reads nothing gets no answer either: it would only pile up
            self.transport.write(answer)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()
        if self._unread is None:
            self._unread = self.loop.call_later(self._connections.unread_timeout_s, self._cut, "unread")

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def keepalive_timeout(self) -> None:
        """A connection that is closed waits until all is written, for ever where nothing is read."""
        super().keepalive_timeout()
        self._connections.count_cut("unread")
        self.transport.abort()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.get_write_buffer_size() and self._unread is None:
            self._unread = self.loop.call_later(self._connections.unread_timeout_s, self._cut, "unread")

    def _cut(self, reason: Reason) -> None:
        self._connections.count_cut(reason)
        self.transport.abort()

    def _stop_unsaid(self) -> None:
        if self._unsaid is not None:
            self._unsaid.cancel()
            self._unsaid = None

    def _stop_timers(self) -> None:
        self._stop_unsaid()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
