"""Before an answer: its prompt is checked, then what the model says goes on as far as it has passed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Protocol

from kodify.censor.choice import Choice, Gates
from kodify.censor.patterns import Patterns
from kodify.engine.base import Delta, Job, Prompt, Screened, Ticket, Vocabulary
from kodify.errors import BadRequestError

REASON = "content_filter"
_QUICK_TOKENS = 2000  # as many are decoded on the event loop


class Verdicts(Protocol):
    """What a screen asks: the censor."""

    checks_prompts: bool
    checks_answers: bool
    patterns: Patterns

    @property
    def check(self) -> Callable[[str], Awaitable[bool]] | None:
        """Whether a text is flagged, where that is asked elsewhere. Raises UnavailableError."""

    async def flags(self, text: str) -> bool:
        """The same of a whole text, the patterns included."""

    def count_answer(self, *, flagged: bool) -> None:
        """The patterns' verdict on one choice."""


class Screen:
    """A sink of one job. Deltas are held whole and go on unchanged, so that what passes is what was said.

    A flagged choice ends with `content_filter`: streamed, after what has passed; whole, with no text. The others go on.
    """

    def __init__(self, verdicts: Verdicts, vocabulary: Vocabulary, job: Job, answer: Screened) -> None:
        self._verdicts = verdicts
        self._vocabulary = vocabulary
        self._job = job
        self._answer = answer
        self._choices: dict[int, Choice] = {}
        self._running = set(range(job.choices * len(job.prompts)))
        self._ticket: Ticket | None = None
        self.flagged = False

    # What a sink before this one tells the answer.
    @property
    def first_at(self) -> float:
        return self._answer.first_at

    @first_at.setter
    def first_at(self, value: float) -> None:
        self._answer.first_at = value

    @property
    def completion_tokens(self) -> int:
        return self._answer.completion_tokens

    @completion_tokens.setter
    def completion_tokens(self, value: int) -> None:
        self._answer.completion_tokens = value

    async def admit(self) -> bool:
        """Whether the engine may have the job; if not, the answer has been told."""
        if self._verdicts.checks_prompts:
            try:
                for prompt in self._job.prompts:
                    if await self._verdicts.flags(await self._text(prompt)):
                        for index in sorted(self._running):
                            self._block(index)
                        break
            except Exception as error:
                self.fail(error)
        return bool(self._running) and not self._answer.finished

    def emit(self, delta: Delta) -> None:
        if not self._verdicts.checks_answers:
            self._answer.emit(delta)
            return
        index = delta.index
        if index not in self._running:
            return
        if (choice := self._choices.get(index)) is None:
            choice = self._choices[index] = self._choice(index)
        choice.feed(delta)
        self._go_on(index)

    def fail(self, error: Exception) -> None:
        self._running.clear()
        self._close_choices()
        self._answer.fail(error)

    def bind(self, ticket: Ticket) -> None:
        """The job runs: this is how to stop it."""
        self._ticket = ticket
        self._stop_engine()

    def close(self) -> None:
        """Nobody listens any more. What was held counts as said."""
        for index in self._running & self._choices.keys():
            self._answer.completion_tokens += len(self._choices[index].token_ids)
        self._running.clear()
        self._close_choices()
        self._ticket = None  # which may know this sink

    def _go_on(self, index: int) -> None:
        if index not in self._running:
            return
        choice = self._choices[index]
        if choice.error is not None:
            self.fail(choice.error)
            self._stop_engine()
            return
        if choice.flagged:
            self._block(index)
            return
        for delta in choice.take():
            if delta.finish_reason is not None:
                self._end(index)
                self._count(choice, flagged=False)
            self._answer.emit(delta)

    def _block(self, index: int) -> None:
        self.flagged = True
        choice = self._choices.get(index)
        token_ids: list[int] = []
        if choice is not None:
            self._count(choice, flagged=True)
            token_ids = choice.token_ids
        self._end(index)
        # Of several candidates a blocked one is the last to be chosen.
        self._answer.emit(Delta(index, "", token_ids, REASON, cumulative_logprob=-math.inf))

    def _end(self, index: int) -> None:
        self._running.discard(index)
        if index in self._choices:
            self._choices[index].close()
        self._stop_engine()

    def _count(self, choice: Choice, *, flagged: bool) -> None:
        if self._verdicts.patterns and choice.found == flagged:
            self._verdicts.count_answer(flagged=flagged)

    def _choice(self, index: int) -> Choice:
        verdicts = self._verdicts
        return Choice(lambda: Gates(verdicts.patterns, verdicts.check, lambda: self._go_on(index)))

    def _stop_engine(self) -> None:
        if not self._running and self._ticket is not None:
            self._ticket.cancel()

    def _close_choices(self) -> None:
        for choice in self._choices.values():
            choice.close()

    async def _text(self, prompt: Prompt) -> str:
        """As the model reads it. Raises BadRequestError for tokens of a tokenizer that is not here."""
        if prompt.text is not None:
            return prompt.text
        if len(prompt.token_ids) <= _QUICK_TOKENS:
            text = self._vocabulary.decode(prompt.token_ids)
        else:
            text = await asyncio.to_thread(self._vocabulary.decode, prompt.token_ids)
        if prompt.token_ids and not text:
            raise BadRequestError("The prompt can't be checked: send it as text.", param="prompt")
        return text
