"""vLLM's errors into ours, at the adapter's wall."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from vllm.exceptions import (
    GracefulHTTPError,
    RetryableRequestError,
    VLLMClientError,
    VLLMNotFoundError,
    VLLMValidationError,
)
from vllm.v1.engine.exceptions import EngineDeadError

from kodify.errors import BadRequestError, EngineFailedError, KodifyError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)

MAX_COMPLAINTS = 5
MAX_INPUT_CHARACTERS = 500
MAX_NAME_CHARACTERS = 200
# One can be had with all of them only, each branch of a union has its own, and a large body has millions.
MAX_LISTED = 1000


def translate(error: Exception, *, from_request: bool = False) -> KodifyError:
    """The error to answer with. What is not the caller's fault is logged here with its trace.

    `from_request`: while a request is being read. There vLLM raises bare Python errors for what a request holds;
    later they are bugs.
    """
    match error:
        case KodifyError():
            return error
        case ValidationError():
            return _complaints(error)
        case VLLMNotFoundError():
            return NotFoundError(str(error))
        case VLLMValidationError():
            return BadRequestError(error.args[0] if error.args else str(error), param=error.parameter)
        case VLLMClientError():
            return BadRequestError(str(error))
        case GracefulHTTPError() | RetryableRequestError():
            return UnavailableError(str(error))
        case EngineDeadError():
            return UnavailableError("The engine has stopped. Please try again later")
        case AttributeError() | AssertionError() if from_request:
            return BadRequestError("The request's fields are not of the expected types.")
        case LookupError() if from_request:
            return BadRequestError("A list or an object of the request lacks what is asked of it.")
        case ValueError() | TypeError() | OverflowError() | RecursionError() | NotImplementedError() if from_request:
            return BadRequestError(str(error))
        case _:
            log.error("the engine failed", exc_info=error)
            return EngineFailedError()


def places(error: ValidationError) -> list[str]:
    """What is wrong and where, for the log: nothing of the content."""
    if error.error_count() > MAX_LISTED:
        return [f"{error.error_count()} errors"]
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_COMPLAINTS]
    return [f"{one['type']} at {'.'.join(map(str, _location(one['loc'])))}" for one in found]


def _complaints(error: ValidationError) -> BadRequestError:
    """The documented form: a list of `type`, `loc` from the body down, `msg` and `input`."""
    count = error.error_count()
    if count > MAX_LISTED:
        return BadRequestError(f"The request's fields are not of the expected types: {count} errors.")
    found = error.errors(include_url=False, include_context=False)
    shown: list[dict[str, Any]] = [
        {
            "type": complaint["type"],
            "loc": ("body", *_location(complaint["loc"])),
            "msg": complaint["msg"],
            "input": _shortened(complaint["input"]),
        }
        for complaint in found[:MAX_COMPLAINTS]
    ]
    location = _location(found[0]["loc"])
    return BadRequestError(str(shown), param=str(location[0]) if location else None)


def missing(field: str, body: dict[str, Any]) -> BadRequestError:
    complaint = {"type": "missing", "loc": ("body", field), "msg": "Field required", "input": _shortened(body)}
    return BadRequestError(str([complaint]), param=field)


def _location(given: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """A name in it may be the body's own."""
    return tuple(name if isinstance(name, int) else name[:MAX_NAME_CHARACTERS] for name in given)


def _shortened(value: Any) -> Any:
    """Itself, or the start of its repr: no more of a large body is looked at than is shown."""
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > MAX_INPUT_CHARACTERS:
            return text[:MAX_INPUT_CHARACTERS] + "…"
    return value


def _pieces(value: Any) -> Iterator[str]:
    """Of the repr of what JSON can be."""
    match value:
        case str():
            yield repr(value[: MAX_INPUT_CHARACTERS + 1])
        case dict():
            for position, (name, inner) in enumerate(value.items()):
                yield ", " if position else "{"
                yield from _pieces(name)
                yield ": "
                yield from _pieces(inner)
            yield "}" if value else "{}"
        case list():
            for position, inner in enumerate(value):
                yield ", " if position else "["
                yield from _pieces(inner)
            yield "]" if value else "[]"
        case _:
            yield repr(value)
