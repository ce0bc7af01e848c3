"""Answers on their way (`app.state.running`): what is told of each to administrators, and how one is ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from starlette.requests import HTTPConnection

from kodify.api.middleware import new_id
from kodify.auth import Principal
from kodify.errors import KodifyError


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose request it is, and since when, on the monotonic clock. The id is our own: clients may choose a request's,
    and the same twice."""

    request_id: str
    user: str | None
    address: str | None
    route: str
    since: float = field(default_factory=time.monotonic)
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Shown:
    """How far an answer has come; tokens are None where nobody knows before its end."""

    model: str
    streams: bool
    prompt_tokens: int | None
    completion_tokens: int | None


@runtime_checkable
class Running(Protocol):
    asked: Asked

    def shown(self) -> Shown: ...

    def cut(self, error: KodifyError) -> None:
        """Ends the answer as it is; whoever waits for it is told the error."""


def asked_by(connection: HTTPConnection) -> Asked:
    """By a request, or by a socket, which has no id."""
    scope = connection.scope
    principal: Principal = connection.state.principal
    client = connection.client
    return Asked(
        scope["state"].get("request_id", ""),
        principal.name,
        client.host if client is not None else None,
        f"{scope.get('method', 'WS')} {scope['route'].path}",
    )
