"""Which completion ends which."""

from __future__ import annotations

import pytest

from kodify.autocomplete.newest import EDITED_CHARACTERS, Newest, Running

FILE = "def f():\n" * 100


@pytest.fixture
def newest() -> Newest:
    return Newest()


def test_a_newer_text_of_the_same_file_ends_the_older(newest: Newest) -> None:
    ended: list[str] = []
    first = newest.begin("ann", "a.py", "x = ", "")
    first.on_end = lambda: ended.append("first")
    second = newest.begin("ann", "a.py", "x = 1", "")
    assert ended == ["first"]
    assert (first.superseded, second.superseded) == (True, False)
    newest.begin("ann", "a.py", "x = 12", "")
    assert (ended, second.superseded) == (["first"], True)  # each is told once


@pytest.mark.parametrize(
    ("who", "document", "prefix", "suffix"),
    [
        ("bob", "a.py", "x = 1", ""),
        ("ann", "b.py", "x = 1", ""),
        ("ann", None, "x = 1", ""),
        ("ann", "a.py", "x = ", ""),  # asked again for the same place: an editor wants several answers
    ],
)
def test_what_does_not_end_it(newest: Newest, who: str, document: str | None, prefix: str, suffix: str) -> None:
    first = newest.begin("ann", "a.py", "x = ", "")
    newest.begin(who, document, prefix, suffix)
    assert not first.superseded


@pytest.mark.parametrize(
    ("prefix", "suffix", "same"),
    [
        (FILE + "x", FILE, True),
        (FILE[:-3], FILE, True),
        (FILE, FILE[5:], True),
        (FILE + "x" * (EDITED_CHARACTERS + 1), FILE, False),
        ("class A:\n" * 100, FILE, False),
        (FILE, "class A:\n" * 100, False),
    ],
)
def test_without_a_path_the_texts_tell(newest: Newest, prefix: str, suffix: str, same: bool) -> None:
    first = newest.begin("ann", None, FILE, FILE)
    newest.begin("ann", None, prefix, suffix)
    assert first.superseded is same


@pytest.mark.parametrize(("other", "same"), [("x = 1", True), ("", True), ("class Other:\n    pass\n", False)])
def test_of_several_persons_behind_one_name_the_texts_tell_too(newest: Newest, other: str, same: bool) -> None:
    first = newest.begin("10.0.0.1", "m.py", "x = ", "", is_sure=False)
    newest.begin("10.0.0.1", "m.py", other, "", is_sure=False)
    assert first.superseded is same


def test_short_texts_without_a_path(newest: Newest) -> None:
    first = newest.begin("ann", None, "alpha", "")
    newest.begin("ann", None, "totally unlike", "zzz")
    assert not first.superseded


def test_who_is_done_is_forgotten(newest: Newest) -> None:
    runs: list[tuple[str, Running]] = [(who, newest.begin(who, "a.py", "x", "")) for who in ("ann", "bob") * 2]
    for who, running in runs:
        newest.done(who, running)
        newest.done(who, running)
    assert not newest._running
