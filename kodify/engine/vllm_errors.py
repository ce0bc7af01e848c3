"""vLLM's errors into ours, at the adapter's wall."""

from __future__ import annotations

import logging
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


def translate(error: Exception, *, from_request: bool = False) -> KodifyError:
    """The error to answer with. What is not the caller's fault is logged here with its trace.

    `from_request`: while a request is being read. There vLLM raises bare Python errors for what a request holds;
    later they are bugs.
    """
    match error:
        case KodifyError():
            return error
        case ValidationError():
            return BadRequestError(complaints(error), param=_parameter(error))
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
        case AttributeError() if from_request:
            return BadRequestError("The request's fields are not of the expected types.")
        case ValueError() | TypeError() | OverflowError() | RecursionError() | NotImplementedError() if from_request:
            return BadRequestError(str(error))
        case _:
            log.error("the engine failed", exc_info=error)
            return EngineFailedError()


def complaints(error: ValidationError) -> str:
    """The documented form: a list of `type`, `loc` from the body down, `msg` and `input`."""
    shown: list[dict[str, Any]] = [
        {
            "type": complaint["type"],
            "loc": ("body", *complaint["loc"]),
            "msg": complaint["msg"],
            "input": _shortened(complaint["input"]),
        }
        for complaint in error.errors(include_url=False, include_context=False)[:MAX_COMPLAINTS]
    ]
    return str(shown)


def missing(field: str, body: dict[str, Any]) -> BadRequestError:
    complaint = {"type": "missing", "loc": ("body", field), "msg": "Field required", "input": _shortened(body)}
    return BadRequestError(str([complaint]), param=field)


def _shortened(value: Any) -> Any:
    text = repr(value)
    return value if len(text) <= MAX_INPUT_CHARACTERS else text[:MAX_INPUT_CHARACTERS] + "…"


def _parameter(error: ValidationError) -> str | None:
    location = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    return str(location[0]) if location else None
