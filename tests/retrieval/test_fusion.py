"""Meaning and words in one order."""

from __future__ import annotations

import pytest

from kodify.retrieval.base import Candidate
from kodify.retrieval.fusion import Best, fuse


def order(*found: Candidate) -> list[str]:
    return [one.id for one, _ in fuse(found, Best.of(found))]


def test_what_both_sides_know_comes_first() -> None:
    assert order(Candidate("near", 0.9, 0), Candidate("both", 0.8, 7), Candidate("words", 0.1, 8)) == [
        "both",
        "words",
        "near",
    ]


def test_how_far_ahead_one_is_counts() -> None:
    close = [Candidate("a", 0.50, 4), Candidate("b", 0.49, 5)]
    assert order(*close) == ["b", "a"]
    assert order(Candidate("a", 0.90, 4), close[1]) == ["a", "b"]


@pytest.mark.parametrize(
    "found",
    [
        [Candidate("a", 0.4, 0), Candidate("b", 0.2, 0)],
        [Candidate("a", 0, 3), Candidate("b", 0, 1)],
        [Candidate("a", -0.1, 0), Candidate("b", -0.2, 0)],
    ],
    ids=["meaning", "words", "all are far"],
)
def test_one_side_alone(found: list[Candidate]) -> None:
    assert order(*found) == ["a", "b"]
    assert all(0 <= score <= 1 for _, score in fuse(found, Best.of(found)))


def test_collections_share_a_measure() -> None:
    """The best of a collection that has nothing is not as good as the best of one that has."""
    good, poor = [Candidate("a", 0.8, 9), Candidate("b", 0.7, 6)], [Candidate("c", 0.2, 1)]
    best = Best.of([*good, *poor])
    scores = {one.id: score for found in (good, poor) for one, score in fuse(found, best)}
    assert scores["c"] < scores["b"] < scores["a"] == 1


def test_nothing() -> None:
    assert order() == []
