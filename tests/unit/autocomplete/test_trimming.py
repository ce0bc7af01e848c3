"""Between the engine and an answer: what the answer is told, and when the engine is stopped."""

from __future__ import annotations

import asyncio

import pytest

from kodify.autocomplete.trimming import Trimming
from kodify.engine.base import Delta


class UpTo:
    """A cutter: the text up to the first `;`, held back until then."""

    def __init__(self) -> None:
        self.complete = False
        self._held = ""

    @classmethod
    def of(cls, choice: int) -> UpTo:
        return cls()

    def feed(self, text: str) -> str:
        if self.complete:
            return ""
        said, semicolon, _ = (self._held + text).partition(";")
        self.complete = bool(semicolon)
        self._held = said[-1:]
        return said[:-1]

    def finish(self) -> str:
        rest, self._held, self.complete = self._held, "", True
        return rest


class Told:
    def __init__(self) -> None:
        self.deltas: list[Delta] = []
        self.error: Exception | None = None
        self.first_at = 0.0
        self.completion_tokens = 0
        self.told = asyncio.Event()

    def emit(self, delta: Delta) -> None:
        self.deltas.append(delta)
        self.told.set()

    def fail(self, error: Exception) -> None:
        self.error = error

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def reasons(self) -> list[str]:
        return [delta.finish_reason for delta in self.deltas if delta.finish_reason is not None]


class Ticket:
    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.mark.parametrize("streams", [True, False])
def test_the_engine_stops_when_the_text_is_whole(streams: bool) -> None:
    told, ticket = Told(), Ticket()
    trimming = Trimming(told, 1, UpTo.of, streams=streams)
    trimming.bind(ticket)
    for number, piece in enumerate(("ab", "cd", "e;f", "never")):
        trimming.emit(Delta(0, piece, (number,)))
    assert (told.text, told.reasons, ticket.cancelled) == ("abcde", ["stop"], 1)
    assert len(told.deltas) == (3 if streams else 1)
    assert sum(len(delta.token_ids) for delta in told.deltas) == 3
    assert told.first_at


def test_an_answer_that_is_whole_before_its_ticket_is_there() -> None:
    told, ticket = Told(), Ticket()
    trimming = Trimming(told, 1, UpTo.of, streams=False)
    trimming.emit(Delta(0, "a;", (1,)))
    trimming.bind(ticket)
    assert (told.text, ticket.cancelled) == ("a", 1)


def test_the_engines_own_end() -> None:
    told, ticket = Told(), Ticket()
    trimming = Trimming(told, 1, UpTo.of, streams=True)
    trimming.bind(ticket)
    trimming.emit(Delta(0, "ab", (1,), finish_reason="length", cached_tokens=7))
    assert (told.text, told.reasons, told.deltas[-1].cached_tokens) == ("ab", ["length"], 7)


def test_the_engine_goes_on_until_every_choice_is_whole() -> None:
    told, ticket = Told(), Ticket()
    trimming = Trimming(told, 2, UpTo.of, streams=False)
    trimming.bind(ticket)
    trimming.emit(Delta(1, "b;", (1,)))
    assert (ticket.cancelled, told.deltas[0].index) == (0, 1)
    trimming.emit(Delta(0, "a;", (1,)))
    assert (ticket.cancelled, len(told.deltas)) == (1, 2)


@pytest.mark.parametrize(("keep", "text", "reason"), [(True, "ab", "length"), (False, "", "superseded")])
def test_an_end_from_outside(keep: bool, text: str, reason: str) -> None:
    told, ticket = Told(), Ticket()
    trimming = Trimming(told, 1, UpTo.of, streams=False)
    trimming.bind(ticket)
    trimming.emit(Delta(0, "ab", (1,)))
    trimming.end(keep=keep)
    trimming.end(keep=keep)
    trimming.emit(Delta(0, "c", (1,)))
    assert (told.text, told.reasons) == (text, [reason])
    assert ticket.cancelled >= 1


async def test_the_deadline_ends_it_with_what_is_there() -> None:
    told, ticket = Told(), Ticket()
    trimming = Trimming(told, 1, UpTo.of, streams=False, deadline_s=0.01)
    trimming.bind(ticket)
    trimming.emit(Delta(0, "ab", (1,)))
    await asyncio.wait_for(told.told.wait(), 30)
    assert (told.text, told.reasons, trimming.late, ticket.cancelled) == ("ab", ["length"], True, 1)


async def test_the_time_to_predict_begins_with_the_first_text() -> None:
    told = Told()
    trimming = Trimming(told, 1, UpTo.of, streams=False, predict_s=0.01)
    await asyncio.sleep(0.05)
    assert not told.deltas
    trimming.emit(Delta(0, "ab", (1,)))
    await asyncio.wait_for(told.told.wait(), 30)
    assert told.text == "ab"


async def test_no_timer_outlives_its_answer() -> None:
    trimming = Trimming(Told(), 1, UpTo.of, streams=False, deadline_s=60, predict_s=60)
    trimming.emit(Delta(0, "a;", (1,)))
    assert not trimming._timers
    failed, told = Trimming(Told(), 1, UpTo.of, streams=False, deadline_s=60), Told()
    failed._answer = told
    failed.fail(RuntimeError())
    assert (failed._timers, type(told.error)) == ([], RuntimeError)


def test_newlines_are_the_files_own() -> None:
    told = Told()
    trimming = Trimming(told, 1, UpTo.of, streams=True, crlf=[True])
    trimming.emit(Delta(0, "a\nb\r", (1,)))
    trimming.emit(Delta(0, "\nc;", (1,)))
    assert told.text == "a\r\nb\r\nc"
    assert trimming.text(0) == "a\nb\nc"


async def test_what_nobody_waited_for_is_counted() -> None:
    told = Told()
    trimming = Trimming(told, 1, UpTo.of, streams=False, deadline_s=60)
    trimming.emit(Delta(0, "ab", (1, 2, 3)))
    trimming.close()
    trimming.close()
    trimming.emit(Delta(0, "c", (4,)))
    trimming.end(keep=True)
    assert (told.deltas, told.completion_tokens, trimming._timers) == ([], 3, [])
