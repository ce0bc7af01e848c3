"""Every route names who may use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from kodify.auth import AuthMethod
from kodify.errors import ForbiddenError

Handler = Callable[[Request], Awaitable[Response]]
Scope = Literal["public", "user", "admin"]


def guard(scope: Scope, handler: Handler) -> Handler:
    """The handler behind its scope; `endpoint.scope` tells it to the test that walks the routes."""

    async def guarded(request: Request) -> Response:
        if scope != "public":
            auth: AuthMethod = request.app.state.auth
            principal = await auth.identify(bearer_token(request))
            if scope not in principal.scopes:
                raise ForbiddenError()
            request.state.principal = principal
        return await handler(request)

    guarded.__name__ = handler.__name__
    guarded.scope = scope  # type: ignore[attr-defined]
    return guarded


def bearer_token(request: Request) -> str | None:
    """The token of `Authorization: Bearer`, or Anthropic's `x-api-key`; None for anything odd."""
    values = request.headers.getlist("authorization")
    if len(values) == 1:
        scheme, _, token = values[0].partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None
    if values:
        return None
    keys = request.headers.getlist("x-api-key")
    return keys[0] or None if len(keys) == 1 else None
