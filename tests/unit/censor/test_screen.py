"""Before an answer: what passes is what was said, what is flagged is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodify.censor.patterns import Patterns
from kodify.censor.screen import REASON, Screen
from kodify.engine.base import Delta, Job, Prompt, TokenLogprob, ToolCallDelta
from kodify.engine.scripted import CharacterVocabulary
from kodify.engine.upstream_vocabulary import TextVocabulary
from kodify.errors import BadRequestError, EngineFailedError, UnavailableError


class Told:
    def __init__(self) -> None:
        self.deltas: list[Delta] = []
        self.error: Exception | None = None
        self.finished = False
        self.first_at = 0.0
        self.completion_tokens = 0

    def emit(self, delta: Delta) -> None:
        self.deltas.append(delta)
        self.completion_tokens += len(delta.token_ids)

    def fail(self, error: Exception) -> None:
        self.error = error
        self.finished = True

    def text(self, index: int = 0) -> str:
        return "".join(delta.text for delta in self.deltas if delta.index == index)


class Words:
    """Verdicts: some by patterns, some elsewhere, by a word in the text."""

    def __init__(self, *patterns: str, word: str | None = None) -> None:
        self.patterns = Patterns(patterns)
        self.word = word
        self.checks_prompts = self.checks_answers = True
        self.down = False
        self.counted: list[bool] = []

    @property
    def check(self) -> Callable[[str], Awaitable[bool]] | None:
        return None if self.word is None else self._check

    async def _check(self, text: str) -> bool:
        await asyncio.sleep(0)
        if self.down:
            raise UnavailableError()
        return self.word is not None and self.word in text

    async def flags(self, text: str) -> bool:
        return self.patterns.find(text) or await self._check(text)

    def count_answer(self, *, flagged: bool) -> None:
        self.counted.append(flagged)


class Ticket:
    cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def make(verdicts: Words, choices: int = 1, prompt: str = "hi") -> tuple[Screen, Told, Ticket]:
    told, ticket = Told(), Ticket()
    vocabulary = CharacterVocabulary()
    job = Job("job", "model", (Prompt(vocabulary.encode_plain(prompt)),), choices)
    screen = Screen(verdicts, vocabulary, job, told)
    screen.bind(ticket)
    return screen, told, ticket


def say(screen: Screen, *pieces: str, index: int = 0) -> None:
    for number, piece in enumerate(pieces):
        screen.emit(Delta(index, piece, (1,), "stop" if number == len(pieces) - 1 else None))


async def settle() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


deltas = st.builds(
    lambda text, tokens, reasoning, call: Delta(
        0, text, tokens, reasoning=reasoning, tool_calls=() if call is None else (ToolCallDelta(0, arguments=call),)
    ),
    st.text(max_size=300),
    st.lists(st.integers(0, 9), max_size=3),
    st.none() | st.text(max_size=20),
    st.none() | st.text(max_size=20),
)


@given(said=st.lists(deltas, max_size=20), word=st.none() | st.just("\x00never\x00"))
async def test_what_passes_is_what_was_said(said: list[Delta], word: str | None) -> None:
    screen, told, ticket = make(Words("\x00never\x00", word=word))
    ended = [*said, Delta(0, "the end", (1,), "stop", stop_reason=7, cached_tokens=3)]
    for delta in ended:
        screen.emit(delta)
        await asyncio.sleep(0)
    await settle()
    assert all(shown is delta for shown, delta in zip(told.deltas, ended, strict=True))
    assert ticket.cancelled == 1  # harmless: the engine has ended too


TEXT = "An answer of some length, with the secret word in it, and with more text behind it. " * 4


@pytest.mark.parametrize("verdicts", [Words("secret word"), Words(word="secret word")], ids=["pattern", "elsewhere"])
async def test_at_every_split_nothing_of_a_flagged_passage_is_shown(verdicts: Words) -> None:
    for split in range(len(TEXT) + 1):
        screen, told, ticket = make(verdicts)
        say(screen, TEXT[:split], TEXT[split:])
        await settle()
        assert told.deltas[-1].finish_reason == REASON
        assert TEXT.startswith(told.text())
        assert "secret" not in told.text()
        assert told.completion_tokens in (1, 2)  # what the engine did until then is counted
        assert ticket.cancelled
        assert screen.flagged


async def test_character_by_character_the_text_goes_on_up_to_the_passage() -> None:
    screen, told, ticket = make(Words("secret word"))
    for character in "Some text, and then the secret wor":
        screen.emit(Delta(0, character, (1,)))
    assert told.text() == "Some text, and then t"  # what can still become a match is held
    screen.emit(Delta(0, "d, and", (1,)))
    screen.emit(Delta(0, " so on", (1,)))
    assert told.text() == "Some text, and then the "[: len(told.text())]
    assert told.deltas[-1].finish_reason == REASON
    said = len(told.deltas)
    screen.emit(Delta(0, "more", (1,)))
    assert len(told.deltas) == said
    assert ticket.cancelled


def call(arguments: str, name: str | None = None) -> Delta:
    return Delta(0, "", (1,), tool_calls=(ToolCallDelta(0, "id", name, arguments),))


@pytest.mark.parametrize(
    "pieces",
    [
        [call('{"cmd": "se', "run"), call("cret"), call('"}')],
        [Delta(0, "", (1,), tool_calls=(ToolCallDelta(0, "id", "secret"),))],
        [Delta(0, "", (1,), reasoning="the sec"), Delta(0, "", (1,), reasoning="ret")],
    ],
    ids=["arguments", "name", "reasoning"],
)
async def test_everything_shown_is_checked(pieces: list[Delta]) -> None:
    for verdicts in (Words("secret"), Words(word="secret")):
        screen, told, _ = make(verdicts)
        for delta in [*pieces, Delta(0, "", (), "tool_calls")]:
            screen.emit(delta)
        await settle()
        assert [delta.finish_reason for delta in told.deltas] == [REASON]


def shown(token: str, text: str = "", finish_reason: str | None = None) -> Delta:
    return Delta(0, text, (1,), finish_reason, logprobs=[TokenLogprob(1, token, -1.0)])


def tokens(told: Told) -> str:
    return "".join(position.token for delta in told.deltas for position in delta.logprobs or ())


VERDICTS = pytest.mark.parametrize("verdicts", [Words("the secret"), Words(word="the secret")], ids=["pattern", "url"])


@VERDICTS
@pytest.mark.parametrize("lag", [0, 1, 7, 10_000])
@pytest.mark.parametrize("has_spaces", [True, False])
async def test_logprobs_tell_no_more_than_the_text_that_has_passed(verdicts: Words, lag: int, has_spaces: bool) -> None:
    """The text is `lag` words behind its tokens, as stop strings or a parser hold it; tokens may lack the spaces."""
    words = [f" word{number}" for number in range(90)] + [" the", " secret", " is", " out"] + [" more"] * 90
    screen, told, ticket = make(verdicts)
    for number, word in enumerate(words):
        text = words[number - lag] if number >= lag else ""
        screen.emit(shown(word if has_spaces else word.strip(), text))
        await asyncio.sleep(0)
    screen.emit(Delta(0, "".join(words[-min(lag, len(words)) :] if lag else ()), (), "stop"))
    await settle()
    assert told.deltas[-1].finish_reason == REASON
    assert "secret" not in tokens(told)
    assert ticket.cancelled
    if lag == 0:
        assert "word10" in tokens(told)  # a stream is still one


@VERDICTS
async def test_tokens_that_never_become_text_are_checked(verdicts: Words) -> None:
    verdicts.counted.clear()
    screen, told, _ = make(verdicts)
    for token in (" the", " sec", "ret", " is"):
        screen.emit(shown(token))
    screen.emit(shown("stop", "", "stop"))
    await settle()
    assert [delta.finish_reason for delta in told.deltas] == [REASON]
    assert verdicts.counted == ([True] if verdicts.patterns else [])


async def test_logprobs_go_on_with_their_text() -> None:
    screen, told, _ = make(Words("never said"))
    said = [shown(f" word{number}", f" word{number}") for number in range(40)]
    for delta in said:
        screen.emit(delta)
    assert len(told.deltas) in (37, 38)  # as far as a match can be long
    ended = [*said, shown("<end>"), shown("", "", "stop")]
    for delta in ended[40:]:
        screen.emit(delta)
    assert all(one is delta for one, delta in zip(told.deltas, ended, strict=True))


async def test_logprobs_that_begin_late_wait_for_the_text_from_there() -> None:
    screen, told, _ = make(Words("never"))
    screen.emit(Delta(0, "a long reasoning without logprobs, which has passed. "))
    screen.emit(shown("held"))
    screen.emit(shown("back"))
    assert tokens(told) == ""
    screen.emit(Delta(0, "held back, then more text", (), "stop"))
    assert tokens(told) == "heldback"


async def test_two_places_are_not_one_word() -> None:
    screen, told, _ = make(Words("secret"))
    screen.emit(Delta(0, "", reasoning="sec"))
    screen.emit(Delta(0, "ret", (), "stop"))
    assert told.deltas[-1].finish_reason == "stop"


async def test_of_several_choices_only_the_flagged_ones_end() -> None:
    verdicts = Words("secret", word="hidden")
    screen, told, ticket = make(verdicts, choices=3)
    say(screen, "a sec", "ret", index=0)
    assert ticket.cancelled == 0
    say(screen, "a hid", "den", index=2)
    say(screen, "all ", "well", index=1)
    await settle()
    assert {delta.index: delta.finish_reason for delta in told.deltas if delta.finish_reason} == {
        0: REASON,
        1: "stop",
        2: REASON,
    }
    assert [told.text(index) for index in range(3)] == ["", "all well", ""]
    assert ticket.cancelled
    assert verdicts.counted == [True, False]  # the third was not the patterns'


async def test_no_verdict_fails_the_answer_and_stops_the_engine() -> None:
    verdicts = Words(word="secret")
    verdicts.down = True
    screen, told, ticket = make(verdicts)
    screen.emit(Delta(0, TEXT, (1,)))
    await settle()
    assert isinstance(told.error, UnavailableError)
    assert told.deltas == []
    assert ticket.cancelled
    screen.emit(Delta(0, "more", (), "stop"))
    assert told.deltas == []


async def test_a_client_that_leaves_ends_the_checks_and_what_was_held_is_counted() -> None:
    screen, told, _ = make(Words(word="secret"))
    screen.emit(Delta(0, TEXT, (1, 2, 3)))
    screen.close()
    await settle()
    assert told.completion_tokens == 3
    assert told.deltas == []


async def test_the_engines_failure_is_the_answers() -> None:
    screen, told, _ = make(Words(word="secret"))
    screen.emit(Delta(0, TEXT))
    screen.fail(EngineFailedError())
    await settle()
    assert isinstance(told.error, EngineFailedError)
    assert told.deltas == []


@pytest.mark.parametrize("prompt", ["tell me the secret", "x" * 3000 + "secret"], ids=["short", "long"])
async def test_a_flagged_prompt_is_not_admitted(prompt: str) -> None:
    screen, told, _ = make(Words("secret"), choices=2, prompt=prompt)
    assert not await screen.admit()
    assert [(delta.index, delta.finish_reason, delta.text) for delta in told.deltas] == [
        (0, REASON, ""),
        (1, REASON, ""),
    ]
    plain, told, _ = make(Words("secret"), prompt="hello")
    assert await plain.admit()
    assert told.deltas == []


async def test_a_prompt_that_can_not_be_read_is_refused() -> None:
    told = Told()
    screen = Screen(Words("secret"), TextVocabulary(), Job("job", "model", (Prompt([1, 2, 3]),)), told)
    assert not await screen.admit()
    assert isinstance(told.error, BadRequestError)


async def test_an_answer_that_ended_meanwhile_needs_no_engine() -> None:
    screen, told, _ = make(Words("secret"))
    told.finished = True
    assert not await screen.admit()
