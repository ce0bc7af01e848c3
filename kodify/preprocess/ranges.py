"""The documented ranges of a request's numbers."""

from __future__ import annotations

from typing import Any

from kodify.engine.base import ParsedRequest
from kodify.errors import BadRequestError


def check(request: ParsedRequest, max_n: int) -> None:
    """Raises BadRequestError in the documented words for the first number out of range."""
    if request.temperature is not None:
        if request.temperature < 0:
            raise _wrong("temperature", f"must be non-negative, got {request.temperature}.")
        if request.temperature > 2:
            raise _wrong("temperature", f"must be in the range from 0 to 2, got {_plain(request.temperature)}.")
    if request.top_p is not None and not 0 < request.top_p <= 1:
        raise _wrong("top_p", f"must be in (0, 1], got {request.top_p}.")
    for name in ("frequency_penalty", "presence_penalty"):
        value = getattr(request, name)
        if value is not None and not -2 <= value <= 2:
            raise _wrong(name, f"must be in [-2, 2], got {value}.")
    _check_count("n", request.n, max_n)
    if getattr(request, "use_beam_search", False):
        raise _wrong("use_beam_search", "is not served.")
    for name in ("max_tokens", "max_completion_tokens"):
        least = 0 if request.echo and name == "max_tokens" else 1  # echo of the prompt alone is a use of 0
        value = getattr(request, name, None)
        if value is not None and value < least:
            raise _wrong(name, f"must be at least 1, got {value}.")


def best_of(body: dict[str, Any], request: ParsedRequest, max_n: int) -> int:
    """How many candidates to generate for each prompt: `best_of`, or `n` where it is not given."""
    n = request.n or 1
    value = body.get("best_of")
    if value is None:
        return n
    if isinstance(value, bool) or not isinstance(value, int):
        complaint = {"type": "int_type", "loc": ("body", "best_of"), "msg": "Input should be a valid integer"}
        raise BadRequestError(str([{**complaint, "input": value}]), param="best_of")
    _check_count("best_of", value, max_n)
    if value > n and request.temperature == 0:
        raise _wrong("best_of", f"above n needs a temperature above 0: all {value} candidates would be the same.")
    if value < n:
        raise _wrong("best_of", f"must be at least n, got {value} with n {n}.")
    if value > n and request.stream:
        raise _wrong("best_of", "above n is not available when `stream=True`.")
    return value


def _check_count(name: str, value: int | None, most: int) -> None:
    if value is None:
        return
    if value < 1:
        raise _wrong(name, f"must be at least 1, got {value}.")
    if value > most:
        raise _wrong(name, f"must be in the range from 1 to {most}, got {value}.")


def _wrong(name: str, complaint: str) -> BadRequestError:
    return BadRequestError(f"{name} {complaint}", param=name)


def _plain(value: float) -> str:
    return f"{value:g}"
