"""An entry in the making: what is learnt of a request on its way, put once when its answer has ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from kodify.journal.base import Entry
from kodify.journal.secrets import SHORTEST_TOKEN

LEFT, CUT = 499, 503  # the client left; the server ended the answer


class Record:
    __slots__ = (
        "_began",
        "_put",
        "_us",
        "address",
        "ended",
        "kind",
        "model",
        "prompt_tokens",
        "request",
        "request_id",
        "request_is_json",
        "token",
        "username",
    )

    def __init__(
        self, put: Callable[[Entry], None], kind: str, address: str | None, request_id: str, token: str | None
    ) -> None:
        self._put = put
        self._us = time.time_ns() // 1000
        self._began = time.monotonic()
        self.kind = kind
        self.address = address
        self.request_id = request_id
        self.token = token
        self.username: str | None = None
        self.model: str | None = None
        self.prompt_tokens: int | None = None
        self.request: bytes | None = None
        self.request_is_json = True
        self.ended = False

    def end(
        self,
        status_code: int,
        response: bytes | None,
        *,
        completion_tokens: int | None = None,
        first_at: float = 0.0,
        finish_reason: str | None = None,
        cancelled: bool = False,
    ) -> None:
        """The first call counts. `first_at`: when the first text came, on the monotonic clock; 0 where unknown."""
        if self.ended:
            return
        self.ended = True
        seconds = time.monotonic() - self._began
        self._put(
            Entry(
                kind=self.kind,
                request_us=self._us,
                response_us=self._us + int(seconds * 1e6),
                duration_ms=seconds * 1e3,
                status_code=status_code,
                address=self.address,
                username=self.username,
                request_id=self.request_id,
                model=self.model,
                prompt_tokens=self.prompt_tokens,
                completion_tokens=completion_tokens,
                ttft_ms=(first_at - self._began) * 1e3 if first_at else None,
                finish_reason=finish_reason,
                cancelled=cancelled,
                request=self.request,
                request_is_json=self.request_is_json,
                response=response,
                secrets=self._secrets(),
            )
        )

    def _secrets(self) -> tuple[bytes, ...]:
        token = self.token
        return (token.encode("latin-1", "replace"),) if token is not None and len(token) >= SHORTEST_TOKEN else ()
