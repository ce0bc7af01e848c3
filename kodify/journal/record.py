"""An entry in the making: what is learnt of a request on its way, put once when its answer has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from kodify.journal.base import Entry
from kodify.journal.secrets import credentials

LEFT, CUT = 499, 503  # the client left; the server ended the answer


class Taker(Protocol):
    def put(self, entry: Entry) -> None: ...

    def put_soon(self, finish: Callable[[], Entry]) -> None: ...


class Silent:
    """Hands entries on without what was asked and answered."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker

    def put(self, entry: Entry) -> None:
        entry.request = entry.response = None
        self._taker.put(entry)

    def put_soon(self, finish: Callable[[], Entry]) -> None:
        def finished() -> Entry:
            entry = finish()
            entry.request = entry.response = None
            return entry

        self._taker.put_soon(finished)


class Record(Entry, kw_only=True):
    """`taker` has it when it has ended, which is once; `began` is on the monotonic clock. `headers` are not kept."""

    taker: Taker
    headers: Iterable[tuple[bytes, bytes]]
    began: float
    ended: bool = False

    def end(
        self, status_code: int, response: bytes | None, *, finish_reason: str | None = None, cancelled: bool = False
    ) -> None:
        """With an answer that is known as a whole. The first end counts."""
        if not self.ended:
            self.ended = True
            self.fill(status_code, response, finish_reason=finish_reason, cancelled=cancelled)
            self.taker.put(self)

    def end_with(self, finish: Callable[[], Entry], *, soon: bool = False) -> None:
        """`finish` fills it: now, or `soon`, which is before the answer's last bytes leave."""
        if not self.ended:
            self.ended = True
            if soon:
                return self.taker.put_soon(finish)
            try:
                entry = finish()
            except Exception:
                return self.taker.put_soon(finish)  # fails there once more, and is counted and logged
            self.taker.put(entry)

    def fill(
        self,
        status_code: int,
        response: bytes | None,
        *,
        completion_tokens: int | None = None,
        first_at: float = 0.0,
        finish_reason: str | None = None,
        cancelled: bool = False,
    ) -> None:
        """`first_at`: when the first text came, on the monotonic clock; 0 where unknown."""
        seconds = time.monotonic() - self.began
        self.response_us = self.request_us + int(seconds * 1e6)
        self.duration_ms = seconds * 1e3
        self.secrets = credentials(self.headers)
        self.status_code = status_code
        self.response = response
        self.completion_tokens = completion_tokens
        self.finish_reason = finish_reason
        self.cancelled = cancelled
        if first_at:
            self.ttft_ms = (first_at - self.began) * 1e3


def begin(
    taker: Taker,
    kind: str,
    address: str | None,
    request_id: str,
    headers: Iterable[tuple[bytes, bytes]],
) -> Record:
    """A request has come."""
    return Record(
        taker=taker,
        kind=kind,
        address=address,
        request_id=request_id,
        headers=headers,
        request_us=time.time_ns() // 1000,
        began=time.monotonic(),
    )
