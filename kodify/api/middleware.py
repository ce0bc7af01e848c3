"""Around every request, in one layer of pure ASGI: its id, its size, its count."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from kodify import logs, serving
from kodify.api import errors
from kodify.errors import BodyTooLargeError
from kodify.metrics import Metrics
from kodify.serving import Serving

if TYPE_CHECKING:
    from kodify.tracing import Tracing

# Where a streamed body is written: past the layers, which look at the start of an answer only.
BODY_SEND = "kodify.body_send"
# In the request's scope: the error that the connection itself has answered with, in the app's place.
REFUSAL = "kodify.refusal"
# In the request's state: what a guard adds to the start of the answer.
ADDED_HEADERS = "added_headers"
NOSNIFF = (b"x-content-type-options", b"nosniff")
MOST_DIGITS = 20  # of a number that Python reads at no cost
_REQUEST_ID = re.compile(rb"[\w.:-]{1,128}")


def new_id() -> str:
    """32 hexadecimal digits that no two requests share; no secret, so without asking the kernel for entropy."""
    return f"{random.getrandbits(128):032x}"


class Edge:
    """One layer instead of three, for each costs a request its closures and coroutines.

    Takes the client's `x-request-id` where it is sane, makes one otherwise, and sends it back. Refuses a body that is
    announced too large before reading it, one that grows too large while reading. Counts answers by route and status
    and times them; a path that no route has counts as one. Tells log and trace which request is being served.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        max_bytes: int,
        tracing: Tracing | None = None,
        access_log: bool = False,
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.max_bytes = max_bytes
        self.tracing = tracing
        self.access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await (self._socket if scope["type"] == "websocket" else self.app)(scope, receive, send)
        started = time.monotonic()
        status = 499  # the client left before an answer began
        request_id, announced = b"", b""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and not request_id:
                request_id = value
            elif name == b"content-length":
                announced = value
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = new_id().encode()
        shown_id = request_id.decode("ascii")
        scope.setdefault("state", {})["request_id"] = shown_id
        current = Serving(shown_id, started)
        serving.current.set(current)
        if self.tracing is not None:
            current.trace = self.tracing.begin(scope["headers"], shown_id)
        scope.setdefault(BODY_SEND, send)

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = scope["state"].get(ADDED_HEADERS, ())
                message["headers"] = [*message["headers"], *added, NOSNIFF, (b"x-request-id", request_id)]
            await send(message)

        self.metrics.in_progress += 1
        try:
            if not announced.isdigit() or len(announced) > MOST_DIGITS:
                await self.app(scope, _limited(receive, self.max_bytes), tagged)
            elif int(announced) <= self.max_bytes:  # uvicorn lets no more through than was announced
                await self.app(scope, receive, tagged)
            else:
                await self.app(scope, _refusing(self.max_bytes), tagged)
        except ClientDisconnect:
            if (refusal := scope.get(REFUSAL)) is not None:
                status = refusal.status
        except Exception as error:
            if status != 499:
                status = 500
                raise
            await errors.response(errors.public(error))(scope, receive, tagged)  # here, so that it carries its id
        finally:
            self.metrics.in_progress -= 1
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.monotonic() - started
            self.metrics.count_request(route, scope["method"], status, seconds)
            if current.trace is not None:
                current.trace.end(scope["method"], "" if route == "none" else route, status)
            if self.access_log:
                _tell_access(current, scope, scope["method"], route, status, seconds)
        current.end()  # not where an exception goes on: what is logged of it is about this request

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same of a WebSocket: counted and timed when its handshake has ended, told to the log at its end."""
        started = time.monotonic()
        status = 0
        shown_id = _id_of(scope)
        scope.setdefault("state", {})["request_id"] = shown_id
        current = Serving(shown_id, started)
        serving.current.set(current)

        async def tagged(message: Message) -> None:
            nonlocal status
            if not status and message["type"] in ("websocket.accept", "websocket.http.response.start"):
                status = message.get("status", 101)
                message["headers"] = [
                    *message.get("headers", ()),
                    *([] if status == 101 else [NOSNIFF]),
                    (b"x-request-id", shown_id.encode()),
                ]
                route = getattr(scope.get("route"), "path", "none")
                self.metrics.count_request(route, "WEBSOCKET", status, time.monotonic() - started)
            await send(message)

        try:
            await self.app(scope, receive, tagged)
        except (ClientDisconnect, WebSocketDisconnect):
            pass
        except Exception as error:
            socket = WebSocket(scope, receive, tagged)
            if status:
                errors.public(error)
                await socket.close(1011)
            else:
                await socket.send_denial_response(errors.response(errors.public(error)))
        finally:
            if self.access_log:
                route = getattr(scope.get("route"), "path", "none")
                _tell_access(current, scope, "WEBSOCKET", route, status or 499, time.monotonic() - started)
        current.end()


def _id_of(scope: Scope) -> str:
    """The client's `x-request-id` where it is sane, or a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode("ascii") if _REQUEST_ID.fullmatch(given) else new_id()


def _limited(receive: Receive, max_bytes: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise _too_large(max_bytes)
        return message

    return counted


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The request body is larger than {max_bytes} bytes.")


def _refusing(max_bytes: int) -> Receive:
    async def refuse() -> Message:
        raise _too_large(max_bytes)

    return refuse


def _tell_access(current: Serving, scope: Scope, method: str, route: str, status: int, seconds: float) -> None:
    principal, client = scope["state"].get("principal"), scope.get("client")
    user = None if principal is None else principal.name
    logs.tell_access(current, method, route, status, seconds, user, client[0] if client else None)
