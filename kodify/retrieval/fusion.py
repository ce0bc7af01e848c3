"""Reciprocal rank fusion: several rankings into one."""

from __future__ import annotations

from collections.abc import Sequence

K = 60  # how little the first ranks differ


def fuse(*rankings: Sequence[str]) -> list[tuple[str, float]]:
    """Ids, the best first, with the sum of 1 / (K + rank)."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, one in enumerate(ranking, 1):
            scores[one] = scores.get(one, 0.0) + 1 / (K + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
