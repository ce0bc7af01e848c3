"""What the journal keeps of a request."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, kw_only=True):
    """A request and its answer. Times are microseconds since 1970, durations milliseconds.

    `request` and `response` are JSON; `request_is_json` is false for a body that could not be read, which is then kept
    as a JSON string. `secrets` are what must not be kept of them, such as the token that the request came with.
    """

    kind: str  # such as `POST /v1/chat/completions`
    request_us: int
    response_us: int = 0
    duration_ms: float = 0.0
    status_code: int = 0
    address: str | None = None
    username: str | None = None
    request_id: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    ttft_ms: float | None = None
    finish_reason: str | None = None
    cancelled: bool = False
    request: bytes | None = None
    request_is_json: bool = True
    response: bytes | None = None
    secrets: tuple[bytes, ...] = ()
