"""Meaning and words into one order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kodify.retrieval.base import Candidate

MEANING = 0.5  # of a score; the rest is the words'
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Best:
    """The highest cosine and the highest BM25 among all that was found for a question: they are 1."""

    cosine: float
    words: float

    @classmethod
    def of(cls, found: Iterable[Candidate]) -> Best:
        cosine = words = _LEAST
        for one in found:
            cosine, words = max(cosine, one.cosine), max(words, one.words)
        return cls(cosine, words)


def fuse(found: Sequence[Candidate], best: Best) -> list[tuple[Candidate, float]]:
    """The best first, with their scores. Not by ranks: how far ahead the first is says much."""
    scored = [
        (one, MEANING * max(0.0, one.cosine) / best.cosine + (1 - MEANING) * one.words / best.words) for one in found
    ]
    return sorted(scored, key=lambda each: (-each[1], each[0].id))
