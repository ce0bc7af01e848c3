"""Every route names who may use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kodify.auth import AuthMethod
from kodify.errors import ForbiddenError

Handler = Callable[[Request], Awaitable[Response]]
Who = Literal["public", "user", "admin"]


class Guarded:
    """A handler behind its scope; `scope` tells it to the test that walks the routes.

    An ASGI app of its own, which Starlette calls without its wrapper for plain functions.
    """

    def __init__(self, scope: Who, handler: Handler) -> None:
        self.scope = scope
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if self.scope != "public":
            auth: AuthMethod = scope["app"].state.auth
            principal = await auth.identify(bearer_token(request))
            if self.scope not in principal.scopes:
                raise ForbiddenError()
            request.state.principal = principal
        response = await self.handler(request)
        await response(scope, receive, send)


def guard(scope: Who, handler: Handler) -> Guarded:
    return Guarded(scope, handler)


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
