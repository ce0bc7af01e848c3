"""Every route names who may use it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from kodify import serving
from kodify.api import cookies, errors
from kodify.api.middleware import ADDED_HEADERS, REFUSAL
from kodify.api.record import attach, record_of
from kodify.auth import AuthMethod, Principal, UserLimits
from kodify.errors import STOPPING, ForbiddenError, KodifyError, UnavailableError
from kodify.journal import CUT, LEFT, Journal, Record

Handler = Callable[[Request], Awaitable[Response]]
SocketHandler = Callable[[WebSocket], Awaitable[None]]
Who = Literal["public", "user", "admin"]


class Guarded:
    """A handler behind its scope; `scope` tells it to the test that walks the routes.

    An ASGI app of its own, which Starlette calls without its wrapper for plain functions.
    """

    def __init__(self, scope: Who, handler: Any, *, limited: bool = False, journaled: bool = False) -> None:
        self.scope = scope
        self.handler = handler
        self.limited = limited
        self.journaled = journaled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            return await self._serve_socket(WebSocket(scope, receive, send))
        request = Request(scope, receive, send)
        record = self._begin(scope)
        if record is None:
            return await self._serve(request)
        try:
            await self._serve(request)
        except ClientDisconnect:
            if (refusal := scope.get(REFUSAL)) is not None:
                record.end(refusal.status, errors.body(refusal))
            record.end(LEFT, None, cancelled=True)
            raise
        except Exception as error:
            known = error if isinstance(error, KodifyError) else KodifyError()
            record.end(known.status, errors.body(known))
            raise
        finally:
            record.end(CUT, None, cancelled=True)

    def _begin(self, scope: Scope) -> Record | None:
        journal: Journal | None = scope["app"].state.journal if self.journaled else None
        if journal is None:
            return None
        client = scope.get("client")
        kind = f"{scope['method']} {scope['route'].path}"
        record = journal.begin(kind, client[0] if client else None, scope["state"]["request_id"], scope["headers"])
        attach(scope, record)
        return record

    def record_refusal(self, scope: Scope, error: KodifyError) -> None:
        """Of a request that the route's own layer refused."""
        record = self._begin(scope)
        if record is not None:
            record.end(error.status, errors.body(error))

    async def _serve_socket(self, socket: WebSocket) -> None:
        """What is refused is answered as any request: before the handshake there is no socket yet."""
        try:
            await self._identify(socket)
        except KodifyError as error:
            return await socket.send_denial_response(errors.response(error))
        await self.handler(socket)

    async def _identify(self, connection: HTTPConnection) -> Principal:
        scope = connection.scope
        state = scope["app"].state
        if state.draining:
            raise UnavailableError(STOPPING)
        auth: AuthMethod = state.auth
        began = time.monotonic()
        try:
            principal = await auth.identify(bearer_token(scope))
        finally:
            serving.stage("auth", began)
        if (record := record_of(scope)) is not None:
            record.username = principal.name
        if self.scope not in principal.scopes:
            raise ForbiddenError()
        connection.state.principal = principal
        return principal

    async def _serve(self, request: Request) -> None:
        scope = request.scope
        if self.scope != "public":
            principal = await self._identify(request)
            limits: UserLimits | None = getattr(scope["app"].state.auth, "limits", None)
            if self.limited and limits is not None and principal.user_id is not None:
                return await self._within(limits, principal.user_id, request)
        response = await self._handle(request)
        await response(scope, request.receive, request._send)

    async def _handle(self, request: Request) -> Response:
        began = time.monotonic()
        response: Response = await self.handler(request)
        body = getattr(response, "body", None)  # one that is still to be generated has none, and ends its record itself
        if body is None:
            serving.stage("prepare", began)
        record = record_of(request.scope)
        if record is not None and body is not None:
            record.end(response.status_code, bytes(body))
        return response

    async def _within(self, limits: UserLimits, user_id: int, request: Request) -> None:
        """The answer's start tells what is left; what it used is counted when it has ended."""
        admission = await limits.admit(user_id)
        request.scope["state"][ADDED_HEADERS] = admission.headers
        used = 0
        try:
            response = await self._handle(request)
            try:
                await response(request.scope, request.receive, request._send)
            finally:
                used = getattr(response, "tokens_used", 0)
        finally:
            await limits.leave(admission, used)


def guard(scope: Who, handler: Handler | SocketHandler, *, limited: bool = False, journaled: bool = False) -> Guarded:
    """`limited`: a user's limits hold for it. `journaled`: the journal keeps it, where there is one."""
    return Guarded(scope, handler, limited=limited, journaled=journaled)


def bearer_token(scope: Scope) -> str | None:
    """The token of `Authorization: Bearer`, or Anthropic's `x-api-key`, or a page's cookie; None for anything odd."""
    found: list[bytes] = []
    keys: list[bytes] = []
    has_cookie = False
    for name, value in scope["headers"]:
        if name == b"authorization":
            found.append(value)
        elif name == b"x-api-key":
            keys.append(value)
        elif name == b"cookie":
            has_cookie = True
    if len(found) == 1:
        scheme, _, token = found[0].decode("latin-1").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None
    if found or len(keys) > 1:
        return None
    if keys:
        return keys[0].decode("latin-1") or None
    session = cookies.session(scope) if has_cookie else None
    return session.token if session is not None else None
