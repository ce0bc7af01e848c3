"""Which answers are given again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodify.autocomplete.answers import EACH, GOOD_FOR_S, Answers

LONG = "import os\n" * 50


@pytest.fixture
def answers() -> Answers:
    found = Answers(3)
    found.keep("a.py", LONG + "x = ", "foo(bar)")
    return found


@pytest.mark.parametrize(
    ("prefix", "rest"),
    [
        (LONG + "x = ", "foo(bar)"),
        (LONG + "x = fo", "o(bar)"),
        (LONG + "x = foo(bar", ")"),
        (LONG + "x = foo(bar)", None),  # typed to its end
        (LONG + "x = foo(bar))", None),
        (LONG + "x = fx", None),
        (LONG + "x =", None),
        ("import so\n" * 50 + "x = ", None),
        ("", None),
    ],
)
def test_the_same_prefix_and_what_was_typed_of_the_answer(answers: Answers, prefix: str, rest: str | None) -> None:
    assert answers.find("a.py", prefix) == rest
    assert answers.find("b.py", prefix) is None


def test_an_empty_answer_is_one(answers: Answers) -> None:
    answers.keep("a.py", "y", "")
    assert answers.find("a.py", "y") == ""


def test_the_newest_of_a_document_counts(answers: Answers) -> None:
    answers.keep("a.py", LONG + "x = ", "new")
    assert answers.find("a.py", LONG + "x = ") == "new"
    for number in range(EACH):
        answers.keep("a.py", f"{number}", "other")
    assert answers.find("a.py", LONG + "x = ") is None


def test_the_least_recently_used_document_goes_first(answers: Answers) -> None:
    for name in ("b", "c"):
        answers.keep(name, "x", name)
    assert answers.find("a.py", LONG + "x = ")
    answers.keep("d", "x", "d")
    assert [answers.find(name, "x") for name in ("b", "c", "d")] == [None, "c", "d"]
    assert len(answers) == 3


def test_an_old_answer_is_none() -> None:
    now = [0.0]
    answers = Answers(3, clock=lambda: now[0])
    answers.keep("a", "x", "y")
    now[0] = GOOD_FOR_S
    assert answers.find("a", "x") == "y"
    now[0] += 1
    assert answers.find("a", "x") is None


def test_what_is_too_old_is_not_kept_on() -> None:
    now = [0.0]
    answers = Answers(100, clock=lambda: now[0])
    for number in range(10):
        answers.keep(number, "x", "y")
    now[0] = GOOD_FOR_S + 1
    answers.keep("new", "x", "y")
    assert len(answers) == 1


def test_none_are_kept_where_none_are_wanted() -> None:
    answers = Answers(0)
    answers.keep("a", "x", "y")
    assert answers.find("a", "x") is None


@given(st.text(max_size=200), st.text(max_size=20), st.text(max_size=200))
def test_what_is_found_goes_on_from_what_was_said(prefix: str, said: str, asked: str) -> None:
    answers = Answers(1)
    answers.keep("a", prefix, said)
    rest = answers.find("a", asked)
    assert rest is None or asked + rest == prefix + said
