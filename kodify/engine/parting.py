"""Texts in which nothing is to be read as a control token: each is parted after its first character, which is seen by
tokenizers alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

PARTING = "\u200b"


def matcher(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Of any of these, the longest first; None where there are none."""
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def part(text: str, pattern: re.Pattern[str] | None) -> str:
    return PARTING.join(cut(text, pattern))


def cut(text: str, pattern: re.Pattern[str] | None) -> Iterator[str]:
    """Pieces, each but the last ending in the first character of one of the tokens, also of those that begin inside of
    another."""
    start = 0
    while pattern is not None and (match := pattern.search(text, start)):
        end = match.start() + 1
        yield text[start:end]
        start = end
    yield text[start:]
