"""Between an engine's own outputs and what reads them: what passes is what came, what is flagged does not come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from kodify.censor.screen import REASON, Screen
from kodify.censor.windows import OVERLAP, STEP
from kodify.engine.base import Job, Prompt, Screened
from kodify.engine.passage import Passage
from kodify.engine.scripted import CharacterVocabulary
from kodify.errors import EngineFailedError, UnavailableError
from tests.unit.censor.test_screen import Words, settle


@dataclass
class Choice:
    text: str
    finish_reason: str | None = None


@dataclass
class Output:
    outputs: list[Choice]


@dataclass
class Engine:
    """Says `texts`; then it has stopped, or fails, or (`endless`) is silent."""

    texts: tuple[str, ...]
    endless: bool = False
    error: Exception | None = None
    said: list[Output] = field(default_factory=list)
    ended: bool = False

    async def outputs(self) -> AsyncGenerator[Output, None]:
        goes_on = self.endless or self.error is not None
        try:
            for number, text in enumerate(self.texts, 1):
                await asyncio.sleep(0)
                reason = "stop" if number == len(self.texts) and not goes_on else None
                self.said.append(Output([Choice(text, reason)]))
                yield self.said[-1]
            if self.error is not None:
                raise self.error
            if self.endless:
                await asyncio.Event().wait()
        finally:
            self.ended = True


def make(verdicts: Words, prompt: str = "hi", lag: int = 0) -> Passage:
    vocabulary = CharacterVocabulary()

    def screen(job: Job, answer: Screened) -> Screen:
        return Screen(verdicts, vocabulary, job, answer)

    return Passage(Job("job", "model", (Prompt(vocabulary.encode_plain(prompt)),)), screen, lag)


async def told(passage: Passage, engine: Engine) -> list[Any]:
    async with aclosing(passage.through(engine.outputs())) as outputs:
        return [output async for output in outputs]


def text(outputs: list[Any]) -> str:
    return "".join(output.outputs[0].text for output in outputs)


KINDS = [Words("secret"), Words(word="secret"), Words("secret", word="secret")]


@pytest.mark.parametrize("verdicts", KINDS, ids=["pattern", "elsewhere", "both"])
@pytest.mark.parametrize("size", [1, 7, 5000])
async def test_what_passes_is_what_came(verdicts: Words, size: int) -> None:
    said = "".join(f"line {number}\n" for number in range(400))
    engine = Engine((*(said[start : start + size] for start in range(0, len(said), size)), "", ""))
    passage = make(verdicts)
    found = await told(passage, engine)
    assert all(one is other for one, other in zip(found, engine.said, strict=True))
    assert (text(found), passage.reason, engine.ended) == (said, None, True)


@pytest.mark.parametrize("verdicts", KINDS, ids=["pattern", "elsewhere", "both"])
async def test_a_flagged_answer_ends_and_so_does_the_engine(verdicts: Words) -> None:
    before = tuple(f"line {number}\n" for number in range(60))
    engine = Engine((*before, "the sec", "ret", *("more " * 100 for _ in range(30))), endless=True)
    passage = make(verdicts)
    found = await told(passage, engine)
    assert "".join(before).startswith(text(found))
    assert (passage.reason, engine.ended) == (REASON, True)


async def test_a_flagged_prompt_does_not_reach_the_engine() -> None:
    engine = Engine(("hello",))
    passage = make(Words("secret"), prompt="a secret")
    assert await told(passage, engine) == []
    assert (passage.reason, engine.said, engine.ended) == (REASON, [], False)


@pytest.mark.parametrize("checks_prompts", [True, False])
async def test_no_verdict_is_an_error(checks_prompts: bool) -> None:
    verdicts = Words(word="secret")
    verdicts.down, verdicts.checks_prompts = True, checks_prompts
    engine = Engine(("hello " * 100,), endless=True)
    with pytest.raises(UnavailableError):
        await told(make(verdicts), engine)
    assert engine.ended != checks_prompts  # it had begun where only answers are checked


class Failing(Words):
    """Has one verdict."""

    verdicts = 1

    async def _check(self, text: str) -> bool:
        self.verdicts -= 1
        if self.verdicts < 0:
            raise UnavailableError()
        return await super()._check(text)


async def test_what_has_passed_comes_before_the_error() -> None:
    verdicts = Failing(word="secret")
    verdicts.checks_prompts = False
    engine = Engine(("ten chars\n",) * 200, endless=True)
    found: list[Any] = []
    async with aclosing(make(verdicts).through(engine.outputs())) as outputs:
        with pytest.raises(UnavailableError):
            while True:
                found.append(await anext(outputs))
    assert found
    assert all(one is other for one, other in zip(found, engine.said, strict=False))
    assert len(text(found)) <= STEP - OVERLAP
    assert engine.ended


async def test_whoever_leaves_ends_the_engine() -> None:
    engine = Engine(("hello " * 100,), endless=True)
    passage = make(Words("secret"))
    async with aclosing(passage.through(engine.outputs())) as outputs:
        reading = asyncio.ensure_future(anext(outputs))
        await settle()
        assert engine.said
        assert not engine.ended
        reading.cancel()
        await asyncio.wait({reading})
    assert engine.ended


async def test_tokens_that_are_ahead_of_their_text_wait_for_it() -> None:
    for lag, passed in ((0, "abcd"), (2, "ab"), (3, "a"), (9, "")):
        passage = make(Words("!"), lag=lag)
        engine = Engine(tuple("abcd..."), endless=True)  # the pattern holds three characters
        async with aclosing(passage.through(engine.outputs())) as outputs:
            found = ""
            for _ in passed:
                found += (await anext(outputs)).outputs[0].text
            assert found == passed
            waiting = asyncio.ensure_future(anext(outputs))
            await settle()
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait({waiting})
    engine = Engine(tuple("abcd"))
    assert text(await told(make(Words("!"), lag=9), engine)) == "abcd"  # at the end there is nothing to wait for


@pytest.mark.parametrize("error", [EngineFailedError(), ZeroDivisionError("a bug")], ids=["failed", "a bug"])
async def test_the_engines_failure_is_told_as_it_is(error: Exception) -> None:
    engine = Engine(("hello ",) * 200, error=error)
    with pytest.raises(type(error)) as caught:
        await told(make(Words("secret")), engine)
    assert caught.value is error


async def test_an_engine_that_ends_without_an_end_has_failed() -> None:
    with pytest.raises(EngineFailedError):
        await told(make(Words("secret")), Engine(()))
