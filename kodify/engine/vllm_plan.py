"""What a job carries for the adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllm.sampling_params import SamplingParams

from kodify.engine.base import Job


@dataclass(frozen=True, slots=True)
class Plan:
    """What the adapter needs to run a job: one engine input and its sampling parameters a prompt."""

    inputs: tuple[Any, ...]
    sampling: tuple[SamplingParams, ...]
    request: Any
    streamed: bool
    top_logprobs: int | None = None  # alternatives shown a position; None: no logprobs asked for
    common: bool = False  # made by CommonReader: its token ids are checked, its parameters are nobody else's


def effective_priority(job: Job) -> int:
    """The house's, or the request's own: a client may put itself behind the others, never before them."""
    return job.priority or max(0, getattr(job.plan.request, "priority", 0) or 0)
