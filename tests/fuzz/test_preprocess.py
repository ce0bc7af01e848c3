"""Any text around any cursor: nothing raises, budgets are kept, and what is shown does not depend on how it came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kodify.autocomplete.trimming import Trimming
from kodify.engine.base import Delta
from kodify.engine.scripted import CharacterVocabulary
from kodify.preprocess import fim
from kodify.preprocess.hole import MOST_SNIPPETS, NAME_CHARACTERS, make_hole
from kodify.preprocess.languages import guess_language, list_languages
from kodify.preprocess.presets import PRESETS, Preset, read_preset
from kodify.preprocess.trim import Trimmer, TrimRules
from kodify.preprocess.window import characters, prompt_ids

PROPERTY = settings(derandomize=True, deadline=None, max_examples=150)
CODE = st.lists(
    st.sampled_from(
        ["def f(x):", "    ", "\n", "\r\n", "\r", "\t", "(", ")", "{", "}", "[", "]", '"', "'", '"""', "`", "//", "#",
         "/*", "*/", "x = 1", "return", "end", "fi", "\\", "<p>", "</p>", "🙂", "\u2028", "\x0c", "é", "<|fim_middle|>",
         ";", ",", ":"]
    ),
    max_size=30,
).map("".join)  # fmt: skip
TEXT = st.one_of(CODE, st.text(max_size=80))
NAME = st.one_of(st.none(), st.text(max_size=40), st.text(min_size=1, max_size=9).map(lambda text: text * 200))
CONTEXT = st.lists(st.tuples(st.text(max_size=20), TEXT), max_size=6)
LANGUAGE = st.sampled_from(list_languages())
RULES = st.builds(
    TrimRules,
    enabled=st.booleans(),
    one_line=st.sampled_from(["mid-line", "always", "never"]),
    max_lines=st.one_of(st.none(), st.integers(1, 5)),
)


class Markers(CharacterVocabulary):
    """A token a character, and one for each of the preset's markers."""

    def __init__(self, preset: Preset) -> None:
        self.markers = preset.every_token  # type: ignore[assignment]


SHIPPED = [read_preset(path) for path in sorted(PRESETS.glob("*.json"))]
CHOICES = [*SHIPPED, *(preset.model_copy(update={"repo": None, "max_prompt_tokens": 40}) for preset in SHIPPED), None]


@PROPERTY
@given(TEXT, TEXT, NAME, NAME, st.lists(st.tuples(st.text(max_size=9), TEXT), max_size=80), st.booleans())
def test_a_hole(
    prefix: str, suffix: str, path: str | None, repository: str | None, context: list[tuple[str, str]], stable: bool
) -> None:
    hole = make_hole(prefix, suffix, path=path, repository=repository, context=context, stable=stable)
    assert len(hole.context) == min(len(context), MOST_SNIPPETS)
    texts = [hole.prefix, hole.suffix, *(piece.text for piece in hole.context)]
    assert not any("\r\n" in text for text in texts)
    for name in (hole.path, hole.repository, *(piece.path for piece in hole.context)):
        assert name is None or (len(name) <= NAME_CHARACTERS and len(name.splitlines()) <= 1)
    guess_language(hole.prefix, hole.suffix)


@PROPERTY
@given(TEXT, TEXT, NAME, CONTEXT, st.booleans(), LANGUAGE, st.integers(0, 300), st.sampled_from(CHOICES))
def test_a_prompt(
    prefix: str,
    suffix: str,
    path: str | None,
    context: list[tuple[str, str]],
    stable: bool,
    language: Any,
    budget: int,
    preset: Preset | None,
) -> None:
    vocabulary = CharacterVocabulary() if preset is None else Markers(preset)
    hole = make_hole(prefix, suffix, language, path=path, repository="r", context=context, stable=stable)
    ids = prompt_ids(hole, preset, vocabulary, budget)
    form = [] if preset is None else fim.render(preset, vocabulary, (), ())
    assert len(ids) <= max(budget, len(form))
    assert characters(hole, budget) >= 0
    if preset is None:
        assert hole.prefix.endswith(vocabulary.decode(ids))
        return
    counts = {marker: ids.count(marker) for marker in form}
    assert all(counts[marker] == form.count(marker) for marker in form)
    if not context:
        assert hole.prefix.endswith(_behind(preset.prefix, ids, vocabulary))
        assert hole.suffix.startswith(_behind(preset.suffix, ids, vocabulary))


def _behind(marker: str, ids: Sequence[int], vocabulary: CharacterVocabulary) -> str:
    """The text from a marker to the next one."""
    start = list(ids).index(vocabulary.token_id(marker) or -1) + 1
    end = next((at for at in range(start, len(ids)) if ids[at] >= 0x110000), len(ids))
    return vocabulary.decode(ids[start:end])


@PROPERTY
@given(TEXT, TEXT, TEXT, LANGUAGE, RULES, st.integers(0, 8), st.lists(st.integers(0, 9), max_size=30))
def test_a_trimmed_completion(
    prefix: str, suffix: str, model: str, language: Any, rules: TrimRules, least: int, sizes: list[int]
) -> None:
    def trimmer() -> Trimmer:
        return Trimmer(prefix, suffix, language, rules=rules, least_indent=least)

    whole = _trimmed(trimmer(), [model])
    assert _trimmed(trimmer(), list(model)) == whole
    assert _trimmed(trimmer(), _cut(model, sizes)) == whole
    assert len(whole) <= len(model)
    if rules.max_lines is not None and rules.enabled:
        assert whole.lstrip("\n").count("\n") < rules.max_lines + 2


def _trimmed(trimmer: Trimmer, pieces: list[str]) -> str:
    return "".join(map(trimmer.feed, pieces)) + trimmer.finish()


def _cut(text: str, sizes: list[int]) -> list[str]:
    """In pieces of these sizes, some of them empty; the last has the rest."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


class Heard:
    """An answer that notes what it is told."""

    def __init__(self) -> None:
        self.first_at = 0.0
        self.completion_tokens = 0
        self.deltas: list[Delta] = []

    def emit(self, delta: Delta) -> None:
        self.deltas.append(delta)

    def fail(self, error: Exception) -> None:
        raise error


@PROPERTY
@given(TEXT, TEXT, TEXT, LANGUAGE, st.booleans(), st.lists(st.integers(0, 9), max_size=20), st.booleans())
def test_a_streamed_completion_is_the_whole_one(
    prefix: str, suffix: str, model: str, language: Any, crlf: bool, sizes: list[int], streams: bool
) -> None:
    heard = [_told(prefix, suffix, pieces, language, crlf, streams) for pieces in ([model], _cut(model, sizes))]
    texts = ["".join(delta.text for delta in one.deltas) for one in heard]
    assert texts[0] == texts[1]
    for one in heard:
        assert [delta.finish_reason for delta in one.deltas].count(None) == len(one.deltas) - 1
        assert one.deltas[-1].finish_reason is not None
        assert crlf is False or texts[0].count("\n") == texts[0].count("\r\n")


def _told(prefix: str, suffix: str, pieces: list[str], language: Any, crlf: bool, streams: bool) -> Heard:
    heard = Heard()
    trimming = Trimming(heard, 1, lambda _: Trimmer(prefix, suffix, language), streams=streams, crlf=(crlf,))
    for position, piece in enumerate(pieces):
        reason = "length" if position == len(pieces) - 1 else None
        trimming.emit(Delta(0, piece, (1,), reason))
    return heard


@pytest.mark.parametrize("preset", SHIPPED, ids=lambda preset: preset.name)
@PROPERTY
@given(prefix=TEXT, suffix=TEXT, budget=st.integers(0, 200))
def test_a_prompt_without_other_files(preset: Preset, prefix: str, suffix: str, budget: int) -> None:
    vocabulary = Markers(preset)
    ids = fim.fill_in_the_middle(preset, vocabulary, prefix, suffix, budget)
    form = fim.render(preset, vocabulary, (), ())
    assert len(ids) <= max(budget, len(form))
    assert len(ids) == min(max(budget, len(form)), len(form) + len(prefix) + len(suffix))
