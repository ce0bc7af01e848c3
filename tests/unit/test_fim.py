"""Fill-in-the-middle prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodify.engine.scripted import CharacterVocabulary
from kodify.errors import ConfigError
from kodify.preprocess import fim

VOCABULARY = CharacterVocabulary()
PREFIX, SUFFIX, MIDDLE = (VOCABULARY.token_id(f"<|fim_{part}|>") or 0 for part in ("prefix", "suffix", "middle"))
PRESET = fim.read_preset(fim.PRESETS / "qwen.json")


def test_the_order_of_the_preset() -> None:
    ids = fim.fill_in_the_middle(PRESET, VOCABULARY, "ab", "c", 100)
    assert ids == [PREFIX, ord("a"), ord("b"), SUFFIX, ord("c"), MIDDLE]
    other = PRESET.model_copy(update={"order": "suffix-prefix-middle"})
    assert fim.fill_in_the_middle(other, VOCABULARY, "ab", "c", 100) == [
        SUFFIX,
        ord("c"),
        PREFIX,
        ord("a"),
        ord("b"),
        MIDDLE,
    ]


@given(st.text(max_size=300), st.text(max_size=300), st.integers(3, 400))
def test_a_budget_is_kept_and_used(prefix: str, suffix: str, budget: int) -> None:
    ids = fim.fill_in_the_middle(PRESET, VOCABULARY, prefix, suffix, budget)
    assert len(ids) == min(budget, len(prefix) + len(suffix) + 3)
    before, after = ids[1 : ids.index(SUFFIX)], ids[ids.index(SUFFIX) + 1 : -1]
    assert (ids[0], ids[-1]) == (PREFIX, MIDDLE)
    assert prefix.endswith("".join(map(chr, before)))
    assert suffix.startswith("".join(map(chr, after)))


def test_a_preset_may_bound_the_prompt() -> None:
    bounded = PRESET.model_copy(update={"max_prompt_tokens": 50})
    assert len(fim.fill_in_the_middle(bounded, VOCABULARY, "p" * 100, "s" * 100, 1000)) == 50


def test_neither_side_starves_while_the_other_has_room() -> None:
    ids = fim.fill_in_the_middle(PRESET, VOCABULARY, "p" * 1000, "s" * 1000, 103)
    assert (ids.count(ord("p")), ids.count(ord("s"))) == (75, 25)


def test_a_configured_preset_must_be_of_the_models_family(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"name": "x", "prefix": "<PRE>", "suffix": "<SUF>", "middle": "<MID>"}))
    with pytest.raises(ConfigError, match="has the marker <PRE>, which is not one token"):
        fim.choose_preset(str(path), VOCABULARY)
    assert fim.choose_preset(None, VOCABULARY, shipped=[path]) is None
    path.write_text('{"name": "x", "colour": 1}')
    with pytest.raises(ConfigError, match=r"other\.json is not valid"):
        fim.choose_preset(str(path), VOCABULARY)


def test_a_model_may_bring_its_own_preset(tmp_path: Path) -> None:
    (tmp_path / "fim.json").write_text(PRESET.model_copy(update={"name": "own"}).model_dump_json(exclude={"schema_"}))
    chosen = [fim.choose_preset(path, VOCABULARY, str(tmp_path)) for path in (None, str(fim.PRESETS / "qwen.json"))]
    assert [preset.name for preset in chosen if preset] == ["own", "qwen"]


def test_the_family_is_found_from_the_tokenizer() -> None:
    preset = fim.choose_preset(None, VOCABULARY)
    assert preset is not None
    assert preset.name == "qwen"
