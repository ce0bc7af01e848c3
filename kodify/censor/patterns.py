"""Regular expressions, searched in a text at once or while it grows."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kodify.errors import ConfigError

UNBOUNDED_HELD = 256  # characters, for a pattern without a longest match
MOST_HELD = 1024
AT_ONCE = 8192  # characters of a whole text that one pattern is searched in without a pause
# The standard library's own parser of patterns: it knows how long a match can be.
_parser: Any = importlib.import_module("re._parser")


class Patterns:
    """`held`: a match ends, and what follows it is known, within so many characters of its start."""

    def __init__(self, sources: Iterable[str]) -> None:
        self.compiled = [re.compile(source) for source in sources]
        self.held = max(map(_held, self.compiled), default=0)

    def __bool__(self) -> bool:
        return bool(self.compiled)

    def find(self, text: str) -> bool:
        return any(pattern.search(text) for pattern in self.compiled)

    def steps(self, text: str) -> Iterator[bool]:
        """Whether a match begins in each next piece of the text, for one pattern after the other.

        A longer match than `held` is found where it ends within the piece or so far behind it.
        """
        for begin in range(0, len(text), AT_ONCE):
            end = begin + AT_ONCE
            for pattern in self.compiled:
                match = pattern.search(text, begin, end + self.held)
                # One that begins behind the piece may be none: what follows it is not seen here. It has its turn.
                yield match is not None and (match.start() < end or end + self.held >= len(text))


class Search:
    """Through one text that grows. `safe`: no match begins before it.

    A longer match than `Patterns.held` may be missed while the text grows; one in its last piece is not.
    """

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._text = ""
        self._begin = 0  # of `_text`, in the whole text
        self.safe = 0
        self.flagged = False

    def feed(self, text: str, *, last: bool) -> None:
        held = self._patterns.held
        self._text += text
        end = self._begin + len(self._text)
        decided = end if last else end - held  # what begins before it is not changed by what comes
        if self.flagged or (decided <= self.safe and not last):
            return
        start = self.safe - self._begin
        for pattern in self._patterns.compiled:
            match = pattern.search(self._text, start)
            if match is not None and (last or self._begin + match.start() < decided):
                self.flagged = True
                return
        self.safe = decided
        # As much is kept on the left, for what a pattern looks back at; less often than each time.
        surplus = decided - self._begin - held
        if surplus > held:
            self._text = self._text[surplus:]
            self._begin += surplus


def read_patterns(given: str | list[str]) -> Patterns:
    """`given`: the patterns, or the name of a file with one a line, blank lines and # lines apart.

    Raises ConfigError, which names the pattern.
    """
    if isinstance(given, list):
        sources = given
    else:
        try:
            lines = Path(given).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"censor.patterns names {given}, which can't be read: {reason}.") from None
        sources = [line for line in lines if line.strip() and not line.startswith("#")]
    for source in sources:
        try:
            is_empty = re.compile(source).search("") is not None
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigError(f"censor.patterns: {source!r} is no regular expression: {error}.") from None
        if is_empty:
            raise ConfigError(f"censor.patterns: {source!r} matches every text.")
    return Patterns(sources)


def _held(pattern: re.Pattern[str]) -> int:
    source = pattern.pattern
    longest: int = _parser.parse(source, pattern.flags).getwidth()[1]
    if longest >= _parser.MAXREPEAT:
        return UNBOUNDED_HELD
    looks_ahead = "(?=" in source or "(?!" in source
    return min(longest + (UNBOUNDED_HELD if looks_ahead else 2), MOST_HELD)  # $ looks at two characters
