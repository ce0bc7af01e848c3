"""Around every request, in pure ASGI: its id, its size, its count."""

from __future__ import annotations

import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kodify.api import errors
from kodify.errors import BodyTooLargeError, KodifyError
from kodify.metrics import Metrics

# Where a streamed body is written: past the layers, which look at the start of an answer only.
BODY_SEND = "kodify.body_send"
_REQUEST_ID = re.compile(rb"^[\w.:-]{1,128}$")


class RequestId:
    """Takes the client's `x-request-id` where it is sane, makes one otherwise, and sends it back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = sent if _REQUEST_ID.match(sent) else uuid.uuid4().hex.encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode("ascii")
        scope[BODY_SEND] = send

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        await self.app(scope, receive, tagged)


class BodyLimit:
    """Refuses a body that is announced too large before reading it, one that grows too large while reading."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        too_large = BodyTooLargeError(f"The request body is larger than {self.max_bytes} bytes.")
        if announced.isdigit() and int(announced) > self.max_bytes:
            return await _refuse(too_large, send)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.max_bytes:
                    raise too_large
            return message

        await self.app(scope, counted, send)


async def _refuse(error: KodifyError, send: Send) -> None:
    content = errors.body(error)
    headers = [*errors.headers(error), (b"content-length", b"%d" % len(content)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class AccessMetrics:
    """Counts answers by route and status, and times them. A path that no route has counts as one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status = 499  # the client left before an answer began
        started = time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.metrics.in_progress.inc()
        try:
            await self.app(scope, receive, watched)
        except Exception:
            status = 500
            raise
        finally:
            self.metrics.in_progress.dec()
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, scope["method"], str(status)).inc()
            self.metrics.duration.labels(route).observe(time.monotonic() - started)
