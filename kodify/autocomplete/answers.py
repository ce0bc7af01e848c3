"""Completions that were given a moment ago: asked again, or typed through, they need no engine."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

EACH = 4  # of one document
GOOD_FOR_S = 120.0
TAIL = 64  # characters compared before the whole text is


@dataclass(frozen=True, slots=True)
class Known:
    length: int
    digest: int
    tail: str
    text: str
    at: float


class Answers:
    """The least recently used go first. Whoever asks names everything that the answer depends on, but the prefix."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`most` documents; 0 keeps none."""
        self._most = most
        self._clock = clock
        self._known: OrderedDict[Hashable, deque[Known]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def keep(self, about: Hashable, prefix: str, text: str) -> None:
        if not self._most:
            return
        known = self._known.get(about)
        if known is None:
            known = self._known[about] = deque(maxlen=EACH)
        now = self._clock()
        known.append(Known(len(prefix), hash(prefix), prefix[-TAIL:], text, now))
        self._known.move_to_end(about)
        oldest = next(iter(self._known.values()))
        while len(self._known) > self._most or now - oldest[-1].at > GOOD_FOR_S:
            self._known.popitem(last=False)
            oldest = next(iter(self._known.values()))

    def find(self, about: Hashable, prefix: str) -> str | None:
        """The rest of an answer that was given for this prefix, or for the start of it when all that was typed since
        is what the answer said; None where there is none."""
        for known in reversed(self._known.get(about, ())):
            typed = len(prefix) - known.length
            if not 0 <= typed <= len(known.text) or self._clock() - known.at > GOOD_FOR_S:
                continue
            if prefix[known.length :] != known.text[:typed]:
                continue
            if not prefix.startswith(known.tail, max(0, known.length - TAIL)):
                continue
            if hash(prefix[: known.length]) != known.digest:
                continue
            rest = known.text[typed:]
            if typed and not rest.strip():
                return None  # typed to its end: what comes next is another question
            self._known.move_to_end(about)
            return rest
        return None
