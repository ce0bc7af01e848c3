"""What a job carries for the adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllm.sampling_params import SamplingParams

from kodify.engine.base import Job

PER_PRIORITY = 1000  # more than a job may have `ahead`
MOST_BEHIND = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What the adapter needs to run a job: one engine input and its sampling parameters a prompt."""

    inputs: tuple[Any, ...]
    sampling: tuple[SamplingParams, ...]
    request: Any
    streamed: bool
    top_logprobs: int | None = None  # alternatives shown a position; None: no logprobs asked for
    lora: Any = None  # vLLM's LoRARequest: the adapter that runs it
    common: bool = False  # made by CommonReader: its token ids are checked, its parameters are nobody else's


def effective_priority(job: Job) -> int:
    return ranked(job.priority or getattr(job.plan.request, "priority", 0) or 0, job.ahead, ours=bool(job.priority))


def ranked(priority: int, ahead: int, *, ours: bool = False) -> int:
    """The engine's number. A client may put itself behind the others, never before them: where the priority is not
    `ours`, it is within these bounds."""
    return (priority if ours else min(max(0, priority), MOST_BEHIND)) * PER_PRIORITY + ahead
