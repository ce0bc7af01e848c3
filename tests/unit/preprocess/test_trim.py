"""A completion is cut where a developer would cut it, however it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kodify.preprocess.languages import find_language, list_languages
from kodify.preprocess.trim import Trimmer, TrimRules

GOLDEN = sorted((Path(__file__).parent / "golden_trim").glob("*.yml"))
CASES = [
    pytest.param(path.stem, case, id=f"{path.stem}-{case['name']}")
    for path in GOLDEN
    for case in yaml.safe_load(path.read_text())
]


def trim(trimmer: Trimmer, text: str, size: int) -> str:
    return "".join(trimmer.feed(text[at : at + size]) for at in range(0, len(text), size)) + trimmer.finish()


def make_trimmer(language: str, case: dict[str, Any]) -> Trimmer:
    rules = TrimRules.model_validate(case.get("rules", {}))
    return Trimmer(case["prefix"], case["suffix"], find_language(language), rules=rules)


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize(("language", "case"), CASES)
def test_golden(language: str, case: dict[str, Any], size: int) -> None:
    assert trim(make_trimmer(language, case), case["model"], size) == case["expect"]


@pytest.mark.parametrize(
    ("language", "case"),
    [case for case in CASES if "completes_after" in dict(case.values[1])],  # type: ignore[call-overload]
)
def test_the_engine_may_stop_as_soon_as_the_end_is_known(language: str, case: dict[str, Any]) -> None:
    trimmer, end = (
        make_trimmer(language, case),
        case["model"].index(case["completes_after"]) + len(case["completes_after"]),
    )
    shown = trimmer.feed(case["model"][: end - 1])
    assert not trimmer.complete
    shown += trimmer.feed(case["model"][end - 1])
    assert trimmer.complete
    assert shown == case["expect"]


def test_the_golden_cases_are_many() -> None:
    assert len(CASES) >= 80
    assert len(GOLDEN) >= 12


def test_no_text_is_touched_when_the_rules_are_off() -> None:
    trimmer = Trimmer("def f():\n", ")", find_language("python"), rules=TrimRules(enabled=False))
    assert trim(trimmer, "  \n\n\n)x)", 2) == "  \n\n\n)x)"


MARKS = """( ) { } [ ] " ' \"\"\" ` # // /* */ <p> </p> , ; : \\ é end fi else"""
WORDS = ("\n", "\n\n", "    ", "\t", " ", "def f():", "if x", "return x", "x = 1", "import os", *MARKS.split())
PIECES = st.lists(st.sampled_from(WORDS), max_size=25).map("".join)
TEXTS = st.one_of(PIECES, st.text(max_size=40))


@given(TEXTS, TEXTS, TEXTS, st.sampled_from(list_languages()), st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_any_text_in_any_pieces(prefix: str, suffix: str, model: str, language: Any, sizes: list[int]) -> None:
    whole = trim(Trimmer(prefix, suffix, language), model, 1_000)
    assert whole == trim(Trimmer(prefix, suffix, language), model, 1)
    trimmer, shown, at = Trimmer(prefix, suffix, language), "", 0
    for size in sizes:
        was_complete = trimmer.complete
        piece = trimmer.feed(model[at : at + size])
        assert not (was_complete and piece)
        shown, at = shown + piece, at + size
    assert shown + trimmer.feed(model[at:]) + trimmer.finish() == whole
    assert model.startswith(whole.rstrip())
    assert whole == "" or whole.strip()


def test_what_comes_after_the_end_changes_nothing() -> None:
    trimmer = Trimmer("def f():\n    ", "\n", find_language("python"))
    assert trimmer.feed("return 1\nx") == "return 1"
    assert trimmer.complete
    assert (trimmer.feed("more\n"), trimmer.finish(), trimmer.finish()) == ("", "", "")


class Watched(str):
    """A text that says how much of it was asked for."""

    asked = 0

    def __getitem__(self, key: Any) -> str:
        part = super().__getitem__(key)
        Watched.asked += len(part)
        return part


def test_a_file_of_megabytes_is_not_read() -> None:
    Watched.asked = 0
    trimmer = Trimmer(Watched("x = (1)\n" * 1_000_000), Watched("y = {2}\n" * 1_000_000), find_language("python"))
    assert trim(trimmer, "z = 3", 1) == "z = 3"
    assert Watched.asked <= 5_000


@pytest.mark.parametrize(
    ("lines", "expect"), [(1, "a = 1"), (2, "a = 1\n    b = 2"), (9, "a = 1\n    b = 2\n    c = 3")]
)
def test_lines_may_be_bounded(lines: int, expect: str) -> None:
    trimmer = Trimmer("def f():\n    ", "", find_language("python"), rules=TrimRules(max_lines=lines))
    assert trim(trimmer, "a = 1\n    b = 2\n    c = 3", 1) == expect
