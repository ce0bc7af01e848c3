"""What any answer to any body must be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

ERROR = {"object", "message", "type", "param", "code", "error"}
NESTED = {"message", "type", "param", "code"}


def complaint(status: int, media: str, body: bytes) -> str | None:
    """Why it is none that may be given; None where it may. 503 is for the caller to judge."""
    if status >= 500 and status != 503:
        return f"{status}: {body[:300]!r}"
    if status >= 400:
        return _error_complaint(status, media, body)
    if media.startswith("text/event-stream"):
        return next(filter(None, map(_frame_complaint, frames(body))), None)
    if media.startswith("application/json"):
        try:
            json.loads(body)
        except ValueError:
            return f"no JSON: {body[:300]!r}"
    return None


def frames(stream: bytes) -> Iterator[tuple[str, bytes]]:
    """Each event's name and data. Raises ValueError where a line is neither, or the stream ends within an event."""
    *events, rest = stream.split(b"\n\n")
    if rest:
        raise ValueError(f"the stream ends with {rest[:100]!r}")
    for event in events:
        name, data = "", None
        for line in event.split(b"\n"):
            field, _, value = line.partition(b": ")
            if field == b"event" and not name:
                name = value.decode()
            elif field == b"data" and data is None:
                data = value
            else:
                raise ValueError(f"no field of an event: {line[:100]!r}")
        if data is None or b"\r" in data:
            raise ValueError(f"an event without data: {event[:100]!r}")
        yield name, data


def _error_complaint(status: int, media: str, body: bytes) -> str | None:
    if media != "application/json":
        return f"{status} is told as {media}"
    try:
        told = json.loads(body)
    except ValueError:
        return f"{status} is no JSON: {body[:300]!r}"
    fits = set(told) == ERROR and told["object"] == "error" and told["code"] == status
    return None if fits and set(told["error"]) == NESTED else f"{status} has another shape: {body[:300]!r}"


def _frame_complaint(frame: tuple[str, bytes]) -> str | None:
    """What goes wrong in a stream is told in it."""
    if frame[1] == b"[DONE]":
        return None
    told: Any = json.loads(frame[1])
    code = told.get("code") if isinstance(told, dict) else None
    return f"in a stream: {frame[1][:300]!r}" if isinstance(code, int) and code >= 500 else None
