"""Request bodies."""

from __future__ import annotations

import json
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from kodify.api.record import record_of
from kodify.errors import BadRequestError


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
    except orjson.JSONDecodeError:
        value = _parse_again(data)
    if not isinstance(value, dict):
        complaint = {
            "type": "model_attributes_type",
            "loc": ("body",),
            "msg": "Input should be a valid dictionary or object to extract fields from",
            "input": repr(value)[:100],
        }
        raise BadRequestError(str([complaint]))
    return value


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
