"""Request bodies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from kodify.api.record import record_of
from kodify.errors import BadRequestError

MOST_LEVELS = 100
MOST_ITEMS = {"messages": 10_000, "tools": 1_024}
SMALL_BYTES = 4 * 1024
MANY_ITEMS = 10_000
BIG_BYTES = 256 * 1024  # the standard parser holds up all that runs beside it, from a thread too
SHOWN_CHARACTERS = 100


async def read_json(request: Request) -> dict[str, Any]:
    """The body's JSON object, or BadRequestError in the documented form. The content type is not looked at."""
    message = await request.receive()
    if message.get("more_body"):
        parts = [message.get("body", b"")]
        while message.get("more_body"):
            message = await request.receive()
            parts.append(message.get("body", b""))
        message["body"] = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise ClientDisconnect()
    data = message.get("body", b"")
    record = record_of(request.scope)
    if record is None:
        return parse_json(data)
    record.request, record.request_is_json = data, False  # until it is read
    body = parse_json(data)
    record.request_is_json = True
    model = body.get("model")
    if isinstance(model, str):
        record.model = model
    return body


def parse_json(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if len(data) > BIG_BYTES:
            raise _not_json(error.pos, error.msg) from None
        value = _parse_again(data)
    if not isinstance(value, dict):
        complaint = {
            "type": "model_attributes_type",
            "loc": ("body",),
            "msg": "Input should be a valid dictionary or object to extract fields from",
            "input": _beginning(value),
        }
        raise BadRequestError(str([complaint]))
    _refuse_deep(value, data)
    for name, most in MOST_ITEMS.items():
        items = value.get(name)
        if type(items) is list and len(items) > most:
            raise BadRequestError(f"{name} has more than {most} items.", param=name)
    return value


def _beginning(value: Any) -> str:
    """The first characters of its `repr`, which is never written as a whole."""
    shown = ""
    for piece in _pieces(value):
        shown += piece
        if len(shown) >= SHOWN_CHARACTERS:
            break
    return shown[:SHOWN_CHARACTERS]


def _pieces(value: Any) -> Iterator[str]:
    """Goes no deeper than what it has yielded is long."""
    if isinstance(value, str):
        yield repr(value[:SHOWN_CHARACTERS])
    elif isinstance(value, list):
        yield "["
        for place, item in enumerate(value):
            yield ", " if place else ""
            yield from _pieces(item)
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        for place, (name, item) in enumerate(value.items()):
            yield f"{', ' if place else ''}{name[:SHOWN_CHARACTERS]!r}: "
            yield from _pieces(item)
        yield "}"
    else:
        yield repr(value)


def _refuse_deep(value: Any, data: bytes) -> None:
    """What follows walks a body by recursion. Looks at what its containers hold, level by level; counting brackets
    spares that, and costs less where the body is small or has many items, such as token ids."""
    is_counted = False
    level = [value]
    for _ in range(MOST_LEVELS):
        if not is_counted and (len(data) <= SMALL_BYTES or sum(map(len, level)) > MANY_ITEMS):
            if data.count(b"[") + data.count(b"{") <= MOST_LEVELS:
                return
            is_counted = True
        inside = [one.values() if type(one) is dict else one for one in level]
        level = [item for items in inside for item in items if type(item) is dict or type(item) is list]
        if not level:
            return
    raise BadRequestError(f"The body is nested more than {MOST_LEVELS} levels deep.")


def _parse_again(data: bytes) -> Any:
    """Where the fast parser said no, the standard one says why, or knows better (numbers of any size)."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate is no text
        return value
    except json.JSONDecodeError as error:
        raise _not_json(error.pos, error.msg) from None
    except UnicodeEncodeError:
        raise _not_json(0, "A lone surrogate is no text") from None
    except UnicodeDecodeError as error:
        raise _not_json(error.start, "Invalid UTF-8") from None
    except (RecursionError, ValueError) as error:
        raise _not_json(0, str(error) or "Nested too deeply") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _not_json(position: int, reason: str) -> BadRequestError:
    complaint = {
        "type": "json_invalid",
        "loc": ("body", position),
        "msg": "JSON decode error",
        "input": {},
        "ctx": {"error": reason},
    }
    return BadRequestError(str([complaint]))
