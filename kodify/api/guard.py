"""Every route names who may use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kodify.api.middleware import ADDED_HEADERS
from kodify.auth import AuthMethod, UserLimits
from kodify.errors import ForbiddenError

Handler = Callable[[Request], Awaitable[Response]]
Who = Literal["public", "user", "admin"]


class Guarded:
    """A handler behind its scope; `scope` tells it to the test that walks the routes.

    An ASGI app of its own, which Starlette calls without its wrapper for plain functions.
    """

    def __init__(self, scope: Who, handler: Handler, *, limited: bool = False) -> None:
        self.scope = scope
        self.handler = handler
        self.limited = limited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if self.scope != "public":
            auth: AuthMethod = scope["app"].state.auth
            principal = await auth.identify(bearer_token(request))
            if self.scope not in principal.scopes:
                raise ForbiddenError()
            request.state.principal = principal
            limits: UserLimits | None = getattr(auth, "limits", None)
            if self.limited and limits is not None and principal.user_id is not None:
                return await self._within(limits, principal.user_id, request)
        response = await self.handler(request)
        await response(scope, receive, send)

    async def _within(self, limits: UserLimits, user_id: int, request: Request) -> None:
        """The answer's start tells what is left; what it used is counted when it has ended."""
        admission = await limits.admit(user_id)
        request.scope["state"][ADDED_HEADERS] = admission.headers
        used = 0
        try:
            response = await self.handler(request)
            try:
                await response(request.scope, request.receive, request._send)
            finally:
                used = getattr(response, "tokens_used", 0)
        finally:
            await limits.leave(admission, used)


def guard(scope: Who, handler: Handler, *, limited: bool = False) -> Guarded:
    """`limited`: a user's limits hold for it."""
    return Guarded(scope, handler, limited=limited)


def bearer_token(request: Request) -> str | None:
    """The token of `Authorization: Bearer`, or Anthropic's `x-api-key`; None for anything odd."""
    found: list[bytes] = []
    keys: list[bytes] = []
    for name, value in request.scope["headers"]:
        if name == b"authorization":
            found.append(value)
        elif name == b"x-api-key":
            keys.append(value)
    if len(found) == 1:
        scheme, _, token = found[0].decode("latin-1").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None
    if found or len(keys) != 1:
        return None
    return keys[0].decode("latin-1") or None
