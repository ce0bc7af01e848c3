"""The one error shape, from every exit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kodify.errors import KodifyError, MethodNotAllowedError, NotFoundError, TooManyRequestsError

log = logging.getLogger(__name__)


def body(error: KodifyError) -> bytes:
    """The documented flat fields, and the same under `error`, where OpenAI's SDKs look."""
    found = fields(error)
    return orjson.dumps({"object": "error", **found, "error": found})


def fields(error: KodifyError) -> dict[str, Any]:
    message = error.message.encode("utf-8", "replace").decode()  # lone surrogates of the caller's own text
    return {"message": message, "type": error.type, "param": error.param, "code": error.status}


def headers(error: KodifyError) -> list[tuple[bytes, bytes]]:
    found = [(b"content-type", b"application/json")]
    if error.retry_after_s is not None:
        found.append((b"retry-after", b"%d" % error.retry_after_s))
    if isinstance(error, TooManyRequestsError):
        found += error.headers
    if error.status == 413:
        found.append((b"connection", b"close"))  # the rest of the body is not waited for
    if error.status == 401:
        found.append((b"www-authenticate", b"Bearer"))
    return found


def response(error: KodifyError) -> Response:
    answer = Response(body(error), status_code=error.status)
    answer.raw_headers = [*headers(error), *((k, v) for k, v in answer.raw_headers if k == b"content-length")]
    return answer


def public(error: Exception) -> KodifyError:
    """What the client is told: a bug tells the log everything and the client nothing."""
    if isinstance(error, KodifyError):
        return error
    log.error("a bug", exc_info=error)
    return KodifyError()


def kept(error: KodifyError) -> KodifyError:
    """For whoever keeps it with what a request has: without its traceback, whose frames know the keeper in turn. Both
    would wait for the garbage collector, and the request's body with them."""
    error.__cause__ = error.__context__ = error.__traceback__ = None
    return error


async def _known(request: Request, error: Exception) -> Response:
    return response(public(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known: dict[int, KodifyError] = {404: NotFoundError(), 405: MethodNotAllowedError()}
    told = known.get(error.status_code) or KodifyError(error.detail)
    answer = response(told)
    refuse = getattr(request.scope.get("endpoint"), "record_refusal", None)
    if refuse is not None:  # a method that the route does not have
        refuse(request.scope, told)
    if error.headers:
        answer.headers.update(error.headers)
    return answer


HANDLERS: dict[Any, Callable[[Request, Exception], Coroutine[Any, Any, Response]]] = {
    KodifyError: _known,
    HTTPException: _http,
    Exception: _known,
}
