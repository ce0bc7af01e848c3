"""What other servers answer and how they fail, into the house's errors."""

from __future__ import annotations

import logging
import math
from typing import Any

import httpx
import msgspec

from kodify.errors import (
    BadRequestError,
    BodyTooLargeError,
    EngineFailedError,
    KodifyError,
    NotFoundError,
    TooManyRequestsError,
    UnavailableError,
)

log = logging.getLogger(__name__)

MAX_CHARACTERS = 2000
GONE = "The server that was answering has stopped. Please try again"
UNAVAILABLE = (401, 403, 502, 503, 504)  # what it can't do for this request it can't for others either


class Refused(Exception):
    """An upstream did not do it. `error` is what the client is told where no other one does it.

    `fails`: it is of no use to other requests either. `final`: no other upstream would say better. `reached`: it may
    have begun to work on it.
    """

    def __init__(self, error: KodifyError, *, fails: bool = False, final: bool = False, reached: bool = True):
        super().__init__(error.message)
        self.error = error
        self.fails = fails
        self.final = final
        self.reached = reached


def of_status(status: int, content: bytes, retry_after: str | None, url: str) -> Refused:
    """Of an answer that is not 200."""
    message, param = read(content)
    wait_s = _seconds(retry_after)
    match status:
        case 401 | 403:
            log.error("the upstream %s refuses Kodify (%d): set its api_key in config.yml", url, status)
            return Refused(UnavailableError(), fails=True)
        case 404:
            return Refused(NotFoundError(message, param=param))  # it may serve another model by now
        case 413:
            return Refused(BodyTooLargeError(message), final=True)
        case 429:
            return Refused(TooManyRequestsError(message, retry_after_s=wait_s or 1))
        case _ if 400 <= status < 500:
            return Refused(BadRequestError(message, param=param), final=True)
        case _ if status in UNAVAILABLE:
            return Refused(UnavailableError(retry_after_s=wait_s or 5), fails=True)
    log.error("the upstream %s answered %d: %s", url, status, message)
    return Refused(EngineFailedError())


def of_event(error: Any, url: str) -> Refused:
    """Of an error inside a stream."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return of_status(status, msgspec.json.encode({"error": error}), None, url)


def of_transport(error: Exception, url: str) -> Refused:
    """Of a connection that can't be made, breaks, or says nothing for too long."""
    log.warning("the upstream %s: %s %s", url, type(error).__name__, error)
    reached = not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
    return Refused(UnavailableError(GONE if reached else None, retry_after_s=1), fails=True, reached=reached)


def read(content: bytes) -> tuple[str | None, str | None]:
    """The message and the parameter, in the shapes that servers have for errors."""
    try:
        found: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, None
    if not isinstance(found, dict):
        return None, None
    error = found.get("error")
    inner = error if isinstance(error, dict) else found
    message = inner.get("message") or found.get("message") or inner.get("detail") or error
    param = inner.get("param")
    text = message if isinstance(message, str) else None if message is None else str(message)
    return (text[:MAX_CHARACTERS] if text else None), (param if isinstance(param, str) else None)


def _seconds(retry_after: str | None) -> int | None:
    """A header may also have a date, which tells nothing without that server's clock."""
    try:
        return max(1, math.ceil(float(retry_after or "")))
    except (ValueError, OverflowError):
        return None
