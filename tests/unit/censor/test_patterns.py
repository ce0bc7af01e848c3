"""Patterns in a text that grows: the same verdict as in the whole one, and nothing of a match gets past."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodify.censor.patterns import AT_ONCE, UNBOUNDED_HELD, Patterns, Search, read_patterns
from kodify.errors import ConfigError

SOURCES = (
    "abba",
    r"\bab\b",
    r"^ba",
    r"(?m)^bb$",
    r"ab$",
    r"(?<=a)bb(?!a)",
    r"a(?=b)",
    r"(?i)A{3,5} ",
    r"(?:ab|b\n){2}",
    r"a{1,9}b\Z",
)


def grow(patterns: Patterns, pieces: list[str]) -> tuple[bool, int]:
    """The verdict, and how far the text was given free."""
    search = Search(patterns)
    safe = 0
    for number, piece in enumerate(pieces):
        search.feed(piece, last=number == len(pieces) - 1)
        if search.flagged:
            break
        safe = search.safe
    return search.flagged, safe


@given(source=st.sampled_from(SOURCES), pieces=st.lists(st.text("ab \n", max_size=12), min_size=1, max_size=60))
def test_a_growing_text_is_judged_like_the_whole(source: str, pieces: list[str]) -> None:
    patterns, text = Patterns([source]), "".join(pieces)
    match = patterns.compiled[0].search(text)
    flagged, safe = grow(patterns, pieces)
    assert flagged == (match is not None)
    assert safe <= (len(text) if match is None else match.start())
    assert flagged or safe == len(text)


def test_every_split_of_a_text_finds_the_match() -> None:
    patterns, text = Patterns(["secret w"]), "x" * 30 + "the secret word" + "y" * 30
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            pieces = [text[:first], text[first:second], text[second:]]
            flagged, safe = grow(patterns, pieces)
            assert flagged
            assert safe <= text.index("secret")


@given(source=st.sampled_from(SOURCES), text=st.text("ab \n", max_size=120))
def test_a_long_text_is_judged_piece_by_piece_like_the_whole(source: str, text: str) -> None:
    patterns = Patterns([source])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kodify.censor.patterns.AT_ONCE", 16)
        assert any(patterns.steps(text)) == patterns.find(text)


def test_a_match_across_a_border_is_found_wherever_it_lies() -> None:
    patterns = Patterns(["secret word", r"x\d{3}$"])
    for begin in range(AT_ONCE - 12, AT_ONCE + 2):
        text = " " * begin + "secret word"
        assert any(patterns.steps(text))
        assert any(patterns.steps(text + " " * AT_ONCE))
        assert any(patterns.steps(" " * begin + "x123"))
        assert not any(patterns.steps(" " * begin + "x123 "))


@pytest.mark.parametrize(
    ("source", "held"),
    [
        ("secret", 8),
        (r"\d{4} ?\d{4}", 11),
        ("a.*b", UNBOUNDED_HELD),
        ("ab(?=c)", 2 + UNBOUNDED_HELD),
        (".{5000}", 1024),
    ],
)
def test_as_much_is_held_as_a_match_is_long(source: str, held: int) -> None:
    assert Patterns([source]).held == held


def test_what_is_kept_of_a_long_text_is_bounded() -> None:
    search = Search(Patterns(["secret"]))
    for _ in range(1000):
        search.feed("0123456789", last=False)
    assert search.safe == 10_000 - 8
    assert len(search._text) < 50


def test_a_file_of_patterns(tmp_path: Path) -> None:
    file = tmp_path / "patterns.txt"
    file.write_text("# names\nпроект «Орёл»\n\n\\bkey-\\d+\n", encoding="utf-8")
    patterns = read_patterns(str(file))
    assert [pattern.pattern for pattern in patterns.compiled] == ["проект «Орёл»", r"\bkey-\d+"]
    assert patterns.find("a key-12")
    assert not patterns.find("monkey-12")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["(a"], r"'\(a' is no regular expression"),
        (["a*"], r"'a\*' matches every text"),
        ("/nowhere/patterns.txt", "/nowhere/patterns.txt, which can't be read: No such file"),
    ],
)
def test_what_can_not_be_used_stops_the_start(given: str | list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_patterns(given)
