"""HTTP/1.1 on the wire: uvicorn's, with the one error shape, a bound on all that a client can send, and open to clients
that offer HTTP/2."""

from __future__ import annotations

import re
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from kodify.api.outlet import WAITING
from kodify.connections import PROBES
from kodify.errors import (
    CROWDED,
    AddressTooLongError,
    BadRequestError,
    HeadTooLargeError,
    KodifyError,
    UnavailableError,
)
from kodify.http_connection import Connection
from kodify.websocket_protocol import PING_EVERY_S, PONG_WITHIN_S, WebSocketConnection

MOST_HEAD_BYTES = 64 * 1024
MOST_HEAD_LINES = 100
MOST_ADDRESS_BYTES = 16 * 1024
MOST_PIPELINED = 8  # requests that wait behind the one that is answered
MOST_LINE_BYTES = 8000  # of the request that becomes a WebSocket
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)


class Protocol(Connection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.url = b""
        self._unused_bytes = 0  # of the part, that were neither a head nor a body yet
        self._refusal: KodifyError | None = None
        self._becomes_socket = False

    def data_received(self, data: bytes) -> None:
        """Java's client offers HTTP/2 (`Upgrade: h2c`) with its first request, and the parser then takes the body
        for another protocol's. The offer may be declined: it is taken out of the request's head."""
        if self._is_refused:
            return
        begins_message = not self._part or self.scope is None  # else this may be a body, which is not to be touched
        if not self._part:
            self._part, self._deadline, self._unused_bytes = "head", 0.0, 0
        if begins_message and b"h2c" in data:
            head, blank, body = data.partition(b"\r\n\r\n")
            if b" HTTP/1.1\r\n" in head:
                data = _OFFER.sub(b"", head + blank[:2]) + blank[2:] + body
        self._unused_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:  # no line in the log: a client could fill the disk with them
            self._refuse(self._refusal or BadRequestError("Invalid HTTP request received."))
        except httptools.HttpParserUpgrade as upgrade:
            if self._becomes_socket:
                return self._hand_over(data[int(upgrade.args[0]) :])
        if self._part:
            self._wait_for_rest()

    def _wait_for_rest(self) -> None:
        if self._unused_bytes > MOST_HEAD_BYTES:
            self._connections.count_cut("head_too_large")
            is_address = self._part == "head" and len(self.url) > MOST_ADDRESS_BYTES
            self._refuse(AddressTooLongError() if is_address else HeadTooLargeError())
            return
        self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._part, self._deadline = "head", 0.0
        self.scope[WAITING] = self.weigh  # type: ignore[literal-required]

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._part != "head":
            return  # a chunked body's trailer: it would pass for a header that a proxy has let through
        name, headers = name.lower(), self.headers
        if len(headers) >= MOST_HEAD_LINES:
            self._object(HeadTooLargeError())
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._unused_bytes > MOST_HEAD_BYTES:  # else the head is surely smaller
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MOST_HEAD_BYTES:
                self._object(HeadTooLargeError())
        if len(self.url) > MOST_ADDRESS_BYTES:
            self._object(AddressTooLongError())
        if len(self.pipeline) >= MOST_PIPELINED:
            self._cut("pipelined")
            self._object(BadRequestError("Too many requests wait on one connection."))
        if self._is_surplus and self.url.partition(b"?")[0] not in PROBES:
            self._connections.count_cut("too_many")
            self._object(UnavailableError(CROWDED))
        waits = self.cycle is not None and not self.cycle.response_complete
        super().on_headers_complete()
        if self._is_surplus:
            self.cycle.keep_alive = False
        if self._becomes_socket:
            return
        if waits:  # read on, or nobody sees that the client has left
            self.flow.resume_reading()
        self._part, self._deadline, self._unused_bytes = "body", 0.0, 0

    def _should_upgrade(self) -> bool:
        """Only where a socket is served, and nothing else is under way; else it is answered as the plain request that
        it is. Asked for each part of the message: the first answer holds."""
        if self._part == "head" and not self._becomes_socket and super()._should_upgrade():
            if self.pipeline or (self.cycle is not None and not self.cycle.response_complete):
                return False
            path = self.url.partition(b"?")[0].decode("latin-1")
            self._becomes_socket = self.config.app.state.takes_sockets(path)  # type: ignore[union-attr]
            if self._becomes_socket and (wrong := _wrong_handshake(self.scope["method"], self.url, self.headers)):
                self._object(BadRequestError(wrong))
        return self._becomes_socket

    def _hand_over(self, rest: bytes) -> None:
        """To another protocol: this one hears no more of the connection. `rest` came behind the head."""
        self._part = ""
        self._unset_keepalive_if_required()
        if self._timer is not None:
            self._timer.cancel()
        self.handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        if rest and isinstance(protocol, WebSocketConnection):
            protocol.data_received(rest)

    def on_body(self, body: bytes) -> None:
        if self._becomes_socket:
            return
        self._unused_bytes = 0
        super().on_body(body)
        if self._running is not self.cycle and len(self.cycle.body) > HIGH_WATER_LIMIT:
            # uvicorn would read no more until its turn comes, and nobody would see that the client has left
            self._cut("pipelined")
            self._object(BadRequestError("A request that waits on one connection has too large a body."))

    def on_message_complete(self) -> None:
        if self._becomes_socket:
            return
        self._part = ""
        super().on_message_complete()
        if self.cycle.response_complete and not self.pipeline:
            self._wait_for_next()

    def _object(self, error: KodifyError) -> None:
        """Stops the parser."""
        if isinstance(error, HeadTooLargeError | AddressTooLongError):
            self._connections.count_cut("head_too_large")
        self._refusal = error
        raise error


def _wrong_handshake(method: str, url: bytes, headers: list[tuple[bytes, bytes]]) -> str:
    """What would not become a socket; "" where all is well. Who refuses it behind us knows not our errors' shape."""
    told = dict(headers)
    if max(len(url), *(len(name) + len(value) for name, value in headers)) > MOST_LINE_BYTES:
        return "A WebSocket's request has too long a line."
    if method != "GET" or told.get(b"sec-websocket-version") != b"13":
        return "A WebSocket begins with GET and Sec-WebSocket-Version 13."
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return "A WebSocket's request needs one Sec-WebSocket-Key of 16 bytes in base64."
    return ""


def protocols(max_message_bytes: int) -> dict[str, Any]:
    """uvicorn's options for what is spoken here. Nothing is compressed: it would cost each socket memory, and tell
    of secrets by lengths."""
    return {
        "http": Protocol,
        "ws": WebSocketConnection,
        "ws_max_size": max_message_bytes,
        "ws_ping_interval": PING_EVERY_S,
        "ws_ping_timeout": PONG_WITHIN_S,
        "ws_per_message_deflate": False,
    }
