"""HTTP/1.1 on the wire: uvicorn's, with the one error shape, and open to clients that offer HTTP/2."""

from __future__ import annotations

import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kodify.api import errors
from kodify.errors import BadRequestError

_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    def data_received(self, data: bytes) -> None:
        """Java's client offers HTTP/2 (`Upgrade: h2c`) with its first request, and the parser then takes the body
        for another protocol's. The offer may be declined: it is taken out of the request's head."""
        between_requests = self.cycle is None or self.cycle.response_complete
        if between_requests and b"h2c" in data:
            head, blank, body = data.partition(b"\r\n\r\n")
            if b" HTTP/1.1\r\n" in head:
                data = _OFFER.sub(b"", head) + blank + body
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        content = errors.body(BadRequestError(msg))
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(content)
        self.transport.write(head + b"connection: close\r\n\r\n" + content)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> Any:
        """A WebSocket is answered as the plain request that it is; nobody needs to hear of it."""
