"""Between the engine and an answer: the model's text is cut as it comes, and the engine stops when that is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from kodify.engine.base import Delta, Sink, Ticket


class Cutter(Protocol):
    """Of one choice."""

    complete: bool

    def feed(self, text: str) -> str: ...

    def finish(self) -> str: ...


class Answer(Sink, Protocol):
    first_at: float
    completion_tokens: int


class Trimming:
    """A sink. `streams`: the answer wants pieces; otherwise one delta a choice, its last."""

    def __init__(
        self,
        answer: Answer,
        choices: int,
        make_cutter: Callable[[int], Cutter],
        *,
        streams: bool,
        crlf: Sequence[bool] = (),
        deadline_s: float | None = None,
        predict_s: float | None = None,
    ) -> None:
        """`make_cutter` of a choice is called while the engine works on the prompt already. `deadline_s` from now on,
        `predict_s` from the first text: then what is there is the answer. `crlf`, of each choice: its file's lines end
        in \\r\\n."""
        self._answer = answer
        self._make_cutter = make_cutter
        self._cutters: dict[int, Cutter] = {}
        self._streams = streams
        self._crlf = crlf or (False,) * choices
        self._running = set(range(choices))
        self._texts: list[list[str]] = [[] for _ in range(choices)]
        self._token_ids: list[list[int]] = [[] for _ in range(choices)]
        self._ticket: Ticket | None = None
        self._predict_s = predict_s
        self._timers: list[asyncio.TimerHandle] = []
        self.cached_tokens: int | None = None
        self.late = False
        if deadline_s is not None:
            self._end_in(deadline_s)

    def emit(self, delta: Delta) -> None:
        index = delta.index
        if index not in self._running:
            return
        if not self._answer.first_at:  # a whole answer is told of its text when it has ended
            self._answer.first_at = time.monotonic()
        if self._predict_s is not None:
            seconds, self._predict_s = self._predict_s, None
            self._end_in(seconds)
        cutter = self._cutter(index)
        text = cutter.feed(delta.text.replace("\r", "") if self._crlf[index] else delta.text)
        if delta.cached_tokens is not None:
            self.cached_tokens = delta.cached_tokens
        if delta.finish_reason is not None:
            self._tell(index, text + cutter.finish(), delta.token_ids, delta.finish_reason, delta.stop_reason)
        elif cutter.complete:
            self._tell(index, text + cutter.finish(), delta.token_ids, "stop", None)
            self._stop_engine()
        else:
            self._tell(index, text, delta.token_ids, None, None)

    def fail(self, error: Exception) -> None:
        self._running.clear()
        self._cancel_timers()
        self._answer.fail(error)

    def text(self, index: int) -> str:
        """What a choice has said so far, with \\n alone."""
        return "".join(self._texts[index])

    def bind(self, ticket: Ticket) -> None:
        """The job runs: this is how to stop it."""
        self._ticket = ticket
        self._stop_engine()
        for index in self._running:
            self._cutter(index)

    def close(self) -> None:
        """Nobody listens any more. What was held back counts as said."""
        self._cancel_timers()
        if not self._streams:
            self._answer.completion_tokens += sum(len(self._token_ids[index]) for index in self._running)
        self._running.clear()
        self._ticket = None  # which may know this sink

    def end(self, *, keep: bool) -> None:
        """The answer ends here, with the text so far, or (not `keep`) with none."""
        for index in sorted(self._running):
            if not keep:
                self._texts[index].clear()
            text = self._cutter(index).finish() if keep else ""
            self._tell(index, text, (), "length" if keep else "superseded", None)
        self._stop_engine()

    def _tell(
        self, index: int, text: str, token_ids: Sequence[int], reason: str | None, stop_reason: int | str | None
    ) -> None:
        self._texts[index].append(text)
        if not self._streams:
            self._token_ids[index] += token_ids
            if reason is None:
                return
            text, token_ids = self.text(index), self._token_ids[index]
        if self._crlf[index]:
            text = text.replace("\n", "\r\n")
        if reason is not None:
            self._running.discard(index)
            if not self._running:
                self._cancel_timers()
        self._answer.emit(
            Delta(
                index,
                text,
                token_ids,
                finish_reason=reason,
                stop_reason=stop_reason,
                cached_tokens=None if reason is None else self.cached_tokens,
            )
        )

    def _cutter(self, index: int) -> Cutter:
        if (cutter := self._cutters.get(index)) is None:
            cutter = self._cutters[index] = self._make_cutter(index)
        return cutter

    def _stop_engine(self) -> None:
        if not self._running and self._ticket is not None:
            self._ticket.cancel()

    def _end_in(self, seconds: float) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, self._is_late))

    def _is_late(self) -> None:
        self.late = True
        self.end(keep=True)

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
