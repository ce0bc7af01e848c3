"""What other servers answer and how they fail, into the house's errors."""

from __future__ import annotations

import logging
import math
import re
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
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
GONE = "The server that was answering has stopped. Please try again"
UNAVAILABLE = (401, 403, 502, 503, 504, 529)  # what it can't do for this request it can't for others either
NO_ROUTE = (405, 501)
# Anthropic's, whose events have no code.
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


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
    log.error("the upstream %s answered %d: %s", url, status, _kind(content))  # its message may repeat the request
    return Refused(EngineFailedError())


def of_missing_route(status: int, content: bytes, model: str, path: str) -> Refused | None:
    """Of a server that has no such route; None where its answer is about something else."""
    message, param = read(content)
    about_model = param == "model" or model in (message or "")
    if status not in NO_ROUTE and (status != 404 or about_model):
        return None
    return Refused(NotFoundError(f'The model "{model}" is not served at {path}.', param="model"), reached=False)


def of_event(error: Any, url: str) -> Refused:
    """Of an error inside a stream."""
    fields = error if isinstance(error, dict) else {}
    code = fields.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else STATUSES.get(str(fields.get("type")), 500)
    return of_status(status, msgspec.json.encode({"error": error}), None, url)


def of_transport(error: Exception, url: str) -> Refused:
    """Of a connection that can't be made, breaks, or says nothing for too long."""
    log.warning("the upstream %s: %s %s", url, type(error).__name__, error)
    reached = not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
    return Refused(UnavailableError(GONE if reached else None, retry_after_s=1), fails=True, reached=reached)


def read(content: bytes) -> tuple[str | None, str | None]:
    """The message and the parameter, in the shapes that servers have for errors."""
    found = _fields(content)
    error = found.get("error")
    inner = error if isinstance(error, dict) else found
    message = inner.get("message") or found.get("message") or inner.get("detail") or error
    param = inner.get("param")
    text = message if isinstance(message, str) else None if message is None else str(message)
    return (text[:MAX_CHARACTERS] if text else None), (param if isinstance(param, str) else None)


def _kind(content: bytes) -> str:
    """The error's type and code, where they are names or numbers."""
    found = _fields(content)
    error = found.get("error")
    inner = error if isinstance(error, dict) else found
    told = [inner.get("type"), inner.get("code")]
    named = [str(one) for one in told if isinstance(one, int) or (isinstance(one, str) and _KIND.fullmatch(one))]
    return " ".join(named) or "of no kind"


def _fields(content: bytes) -> dict[str, Any]:
    try:
        found: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(retry_after: str | None) -> int | None:
    """A header may also have a date, which tells nothing without that server's clock."""
    try:
        return max(1, math.ceil(float(retry_after or "")))
    except (ValueError, OverflowError):
        return None
