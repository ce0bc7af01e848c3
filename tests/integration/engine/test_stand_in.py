"""AsyncLLM's stand-in for a request of vLLM's serving classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from vllm import SamplingParams
from vllm.exceptions import GenerationError

from kodify.engine.base import Delta, Progress, Ticket
from kodify.engine.vllm_stand_in import StandIn
from kodify.errors import UnavailableError


class Screen:
    """Lets all of an answer pass; the prompt as it is told."""

    def __init__(self, answer: Any, told: list[str], admits: bool) -> None:
        self.answer = answer
        self.told = told
        self.admits = admits

    async def admit(self) -> bool:
        self.told.append("checked")
        if not self.admits:
            self.answer.emit(Delta(0, "", finish_reason="content_filter"))
        return self.admits

    def bind(self, ticket: Ticket) -> None: ...

    def close(self) -> None: ...

    def emit(self, delta: Delta) -> None:
        self.answer.emit(delta)

    def fail(self, error: Exception) -> None:
        self.answer.fail(error)


async def said(told: list[str], *, admits: bool, full: bool = False) -> StandIn:
    async def generate(*_: Any, **fields: Any) -> AsyncGenerator[Any, None]:
        told.append(f"engine, priority {fields['priority']}")
        choice = SimpleNamespace(text="hi", token_ids=[1], finish_reason="stop")
        yield SimpleNamespace(outputs=[choice], prompt_token_ids=[1], num_cached_tokens=None)

    progress = Progress()

    async def enter() -> None:
        told.append("place")
        if full:
            raise UnavailableError("full")
        progress.ahead = 3

    progress.enter = enter
    engine: Any = SimpleNamespace(generate=generate)
    stand_in = StandIn(engine, progress, lambda _, answer: Screen(answer, told, admits))
    prompt = {"prompt_token_ids": [1], "prompt": "a"}
    async for _ in stand_in.generate(prompt, SamplingParams(), "r"):
        pass
    return stand_in


async def test_a_place_in_line_is_taken_when_the_censor_has_let_it_in() -> None:
    told: list[str] = []
    await said(told, admits=True)
    assert told == ["checked", "place", "engine, priority 3"]


async def test_what_the_censor_stops_takes_no_place() -> None:
    told: list[str] = []
    await said(told, admits=False)
    assert told == ["checked"]


async def test_a_full_line_is_told_as_that() -> None:
    told: list[str] = []
    with pytest.raises(GenerationError) as raised:
        await said(told, admits=True, full=True)
    assert isinstance(raised.value.__cause__, UnavailableError)
    assert told == ["checked", "place"]
