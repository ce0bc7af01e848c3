"""The request that is being served: what the log, its access line and its trace tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # slow to import, and only where traces are wanted
    from kodify.tracing import Trace


class Serving:
    """Times are on the monotonic clock; `first_at` is 0 until the first text is there.

    A task that outlives the request which started it, or gets the context of another by asyncio's fault, still finds
    it here: what has ended has no id any more.
    """

    __slots__ = ("began", "cancelled", "first_at", "request_id", "trace")

    def __init__(self, request_id: str, began: float) -> None:
        self.request_id = request_id
        self.began = began
        self.first_at = 0.0
        self.cancelled = False
        self.trace: Trace | None = None

    @property
    def ttft_ms(self) -> float | None:
        return (self.first_at - self.began) * 1e3 if self.first_at else None

    def end(self) -> None:
        self.request_id = ""
        self.trace = None


current: ContextVar[Serving | None] = ContextVar("serving", default=None)


def stage(name: str, began: float) -> None:
    """A part of the way, from `began` to now."""
    serving = current.get()
    if serving is not None and serving.trace is not None:
        serving.trace.stage(name, began)


def generated(
    *,
    model: str,
    began: float,
    first_at: float,
    prompt_tokens: int,
    completion_tokens: int,
    reasons: Sequence[str],
    status: int,
    cancelled: bool,
) -> None:
    """The engine's part, as far as it came. `status`: of the answer; `reasons`: why its choices ended."""
    serving = current.get()
    if serving is None:
        return
    serving.first_at = first_at
    serving.cancelled = cancelled
    if serving.trace is not None:
        serving.trace.generated(
            began,
            {
                "gen_ai.request.model": model,
                "gen_ai.usage.input_tokens": prompt_tokens,
                "gen_ai.usage.output_tokens": completion_tokens,
                "gen_ai.response.finish_reasons": tuple(reasons),
                "kodify.cancelled": cancelled,
            },
            ttft_ms=serving.ttft_ms,
            status=status,
        )
