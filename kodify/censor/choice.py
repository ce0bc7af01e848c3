"""What one choice says, held until it has passed: the text, and the tokens that logprobs show of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from kodify.censor.patterns import Patterns, Search
from kodify.censor.windows import Windows
from kodify.engine.base import Delta


class Gates:
    """One text that grows, before the patterns and the endpoint."""

    def __init__(
        self, patterns: Patterns, check: Callable[[str], Awaitable[bool]] | None, told: Callable[[], None]
    ) -> None:
        self.search = Search(patterns) if patterns else None
        self.windows = None if check is None else Windows(check, told)
        self._each = [gate for gate in (self.search, self.windows) if gate is not None]
        self.end = 0

    def feed(self, text: str, *, last: bool) -> None:
        self.end += len(text)
        for gate in self._each:
            gate.feed(text, last=last)

    @property
    def flagged(self) -> bool:
        return any(gate.flagged for gate in self._each)

    @property
    def safe(self) -> int:
        return min((gate.safe for gate in self._each), default=self.end)


class _Held(NamedTuple):
    """`end`, `tokens_end`: of what it says. `weight`: of all tokens up to its own."""

    delta: Delta
    end: int
    tokens_end: int
    weight: int


class Choice:
    """`take`: what has passed, in order.

    Logprobs show tokens whose text may come later, for a stop string or a parser holds it back, or never. So they have
    gates of their own, and wait besides until as much text has passed as they show: tokens alone may lack the spaces
    between words. The alternatives at a position are single words, which nobody reads as a sentence: they are not
    checked, and go with the token.
    """

    def __init__(self, make: Callable[[], Gates]) -> None:
        self._make = make
        self._text = make()
        self._tokens: Gates | None = None
        self._each = [self._text]
        self._held: deque[_Held] = deque()
        self._weights: deque[tuple[int, int]] = deque()  # of the text up to an end that has not passed
        self._weight = 0  # of the text
        self._tokens_weight = 0
        self._passed: float = 0  # the weight of the text that has
        self._ended = False
        self._channel = ""

    def feed(self, delta: Delta) -> None:
        said = self._said(delta)
        self._ended = delta.finish_reason is not None
        self._text.feed(said, last=self._ended)
        if self._tokens is None and delta.logprobs:
            self._tokens = self._make()
            self._each.append(self._tokens)
        if self._tokens is not None:
            shown = "".join(position.token for position in delta.logprobs or ())
            self._tokens.feed(shown, last=self._ended)
            self._weight += _weigh(said)
            # Tokens of a text that comes without logprobs are not seen: they count as much as it does.
            self._tokens_weight += _weigh(shown if delta.logprobs else said)
            self._weights.append((self._text.end, self._weight))
        tokens_end = 0 if self._tokens is None else self._tokens.end
        self._held.append(_Held(delta, self._text.end, tokens_end, self._tokens_weight))

    def take(self) -> Iterator[Delta]:
        safe = self._text.safe
        tokens_safe = 0 if self._tokens is None else self._tokens.safe
        while self._weights and self._weights[0][0] <= safe:
            self._passed = self._weights.popleft()[1]
        if self._ended and safe >= self._text.end:
            self._passed = math.inf  # of some tokens no text comes: markup, the stop string
        while self._held:
            first = self._held[0]
            if first.end > safe or first.tokens_end > tokens_safe or first.weight > self._passed:
                return
            yield self._held.popleft().delta

    @property
    def flagged(self) -> bool:
        return any(gates.flagged for gates in self._each)

    @property
    def found(self) -> bool:
        """Whether by a pattern."""
        return any(gates.search is not None and gates.search.flagged for gates in self._each)

    @property
    def error(self) -> Exception | None:
        """Why there is no verdict."""
        windows = (gates.windows for gates in self._each)
        return next((one.error for one in windows if one is not None and one.error is not None), None)

    @property
    def token_ids(self) -> list[int]:
        """Of what is held."""
        return [token_id for held in self._held for token_id in held.delta.token_ids]

    def close(self) -> None:
        for gates in self._each:
            if gates.windows is not None:
                gates.windows.close()

    def _said(self, delta: Delta) -> str:
        text = ""
        for channel, piece in _pieces(delta):
            if channel != self._channel and self._channel:
                text += "\n"  # what stands in two places is not one word
            self._channel = channel
            text += piece
        return text


def _pieces(delta: Delta) -> Iterator[tuple[str, str]]:
    """Everything that a client is shown, logprobs apart, with where it stands."""
    if delta.reasoning:
        yield "reasoning", delta.reasoning
    if delta.text:
        yield "text", delta.text
    for call in delta.tool_calls:
        if call.name:
            yield f"name {call.index}", call.name
        if call.arguments:
            yield f"arguments {call.index}", call.arguments


def _weigh(text: str) -> int:
    """Its characters without spaces, which single tokens may lack: never more for a text than for its tokens."""
    return len("".join(text.split()))
