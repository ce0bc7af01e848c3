"""What the doors of `/api/v1/admin` share: addresses and bodies read, who acts, what is written down."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from kodify import moments
from kodify.api import shapes
from kodify.api.body import read_json
from kodify.api.users import MOST_DIGITS, actor
from kodify.auth import Register
from kodify.errors import BadRequestError, NotFoundError, UnprocessableEntityError

Shape = TypeVar("Shape", bound=msgspec.Struct)
Query = TypeVar("Query", bound=BaseModel)
NOT_KEPT = {"cache-control": "no-store"}


def register(request: Request) -> Register:
    """There is one wherever there is an administrator to ask for it."""
    found: Register | None = request.app.state.administration
    if found is None:
        raise NotFoundError("There are no users here: MTSAI_AUTH is off.")
    return found


async def note(request: Request, act: str, target: str, detail: str | None = None) -> None:
    """Written down before its effect is seen: what can't be written down is not done."""
    await register(request).note(actor(request), act, target, detail)


async def read(request: Request, shape: type[Shape]) -> Shape:
    """Raises UnprocessableEntityError that names the field; BadRequestError where the body is no JSON."""
    body = await read_json(request)
    try:
        return shapes.read(body, shape)
    except BadRequestError as error:
        raise unprocessable(error.message, error.param) from None


def read_query(request: Request, shape: type[Query]) -> Query:
    """An empty parameter is none. Raises UnprocessableEntityError that names the parameter."""
    given = {name: value for name, value in request.query_params.items() if value}
    try:
        found = shape.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise unprocessable(f"{name}: {first['msg']}", name) from None
    for name, value in given.items():
        if "\0" in value:
            raise unprocessable(f"{name}: a NUL is no text", name)
    return found


def unprocessable(complaint: str, param: str | None) -> UnprocessableEntityError:
    return UnprocessableEntityError(f"Unprocessable Entity: {complaint}", param=param)


def period(since: str, until: str | None) -> tuple[datetime, datetime]:
    """Raises UnprocessableEntityError."""
    now = datetime.now(UTC)
    name = "since"
    try:
        start = moments.moment(since, now)
        name = "until"
        return start, now if until is None else moments.moment(until, now)
    except ValueError as error:
        raise unprocessable(f"{name}: {error}", name) from None


def number(request: Request, name: str, complaint: str) -> int:
    """Of the address. Raises NotFoundError for what can't be an id."""
    text: str = request.path_params[name]
    if not text.isdecimal() or not text.isascii() or len(text) > MOST_DIGITS:
        raise NotFoundError(complaint)
    return int(text)


def answer(content: Any, status: int = 200) -> Response:
    """Kept by no cache: all of it is for the one who asked."""
    return Response(orjson.dumps(content), status, NOT_KEPT, "application/json")
