"""Presets: their files, and which one a model gets."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from kodify import terminal
from kodify.engine.base import EngineFacts
from kodify.engine.scripted import CharacterVocabulary
from kodify.engines import Engines, Served
from kodify.errors import ConfigError
from kodify.preprocess.presets import PRESETS, choose_preset, read_preset
from kodify.settings import Settings
from tests.unit.golden_fim.stand_in import FAMILIES, vocabulary

VOCABULARY = CharacterVocabulary()
SCHEMA = PRESETS / "schema" / "preset.schema.json"
SHIPPED = sorted(PRESETS.glob("*.json"))
PRESET = read_preset(PRESETS / "qwen.json")


class Words(CharacterVocabulary):
    """Exactly these tokens."""

    def __init__(self, *tokens: str) -> None:
        self.markers = tokens  # type: ignore[assignment]


def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_each_family_has_its_file() -> None:
    assert {path.stem for path in SHIPPED} == set(FAMILIES)
    assert all(read_preset(path).name == path.stem for path in SHIPPED)


def test_the_schema_is_what_the_model_says() -> None:
    script = runpy.run_path(str(PRESETS.parent / "scripts" / "preset_schema.py"))
    assert SCHEMA.read_text(encoding="utf-8") == script["schema"](), "run scripts/preset_schema.py"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_preset_keeps_to_the_schema_and_names_it(path: Path) -> None:
    preset = json.loads(path.read_text(encoding="utf-8"))
    validator().validate(preset)
    assert (path.parent / preset["$schema"]).resolve() == SCHEMA.resolve()


def test_the_schema_refuses_what_the_model_refuses() -> None:
    good: dict[str, object] = {"name": "x", "prefix": "<P>", "suffix": "<S>", "middle": None}
    assert validator().is_valid(good)
    wrong: tuple[dict[str, object], ...] = (
        {"colour": 1},
        {"suffix_share": 1},
        {"order": "middle-first"},
        {"max_tokens": 0},
        {"repo": {}},
    )
    assert [validator().is_valid(good | one) for one in wrong] == [False] * len(wrong)
    assert not validator().is_valid({key: good[key] for key in ("name", "prefix", "suffix")})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_is_found_from_its_tokenizer(family: str) -> None:
    choice = choose_preset(None, vocabulary(family))
    assert choice.label == f"{family} (found from the tokenizer)"
    assert choice.preset == read_preset(PRESETS / f"{family}.json")


def test_families_with_the_same_markers_are_told_apart_in_any_order() -> None:
    both = [PRESETS / "codegemma.json", PRESETS / "qwen.json"]
    for shipped in (both, both[::-1]):
        found = [choose_preset(None, vocabulary(family), shipped=shipped).preset for family in ("qwen", "codegemma")]
        assert [preset.name for preset in found if preset] == ["qwen", "codegemma"]


@pytest.mark.parametrize("family", FAMILIES)
def test_another_familys_preset_stops_the_start(family: str) -> None:
    others = [name for name in FAMILIES if name not in {family, "qwen"}]  # Qwen's markers are CodeGemma's too
    for name in others:
        with pytest.raises(ConfigError, match="which is not one token of this model"):
            choose_preset(str(PRESETS / f"{name}.json"), vocabulary(family))


def test_a_configured_preset_must_be_of_the_models_family(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"name": "x", "prefix": "<PRE>", "suffix": "<SUF>", "middle": "<MID>"}))
    with pytest.raises(ConfigError, match="has the marker <PRE>, which is not one token"):
        choose_preset(str(path), VOCABULARY)
    assert choose_preset(None, VOCABULARY, shipped=[path]).preset is None
    path.write_text('{"name": "x", "colour": 1}')
    with pytest.raises(ConfigError, match=r"other\.json is not valid"):
        choose_preset(str(path), VOCABULARY)


def test_a_start_of_text_that_the_model_lacks_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "bos.json"
    path.write_text(PRESET.model_copy(update={"bos": "<s>"}).model_dump_json(exclude={"schema_"}))
    with pytest.raises(ConfigError, match="has the marker <s>"):
        choose_preset(str(path), VOCABULARY)


def test_a_model_may_bring_its_own_preset(tmp_path: Path) -> None:
    (tmp_path / "fim.json").write_text(PRESET.model_copy(update={"name": "own"}).model_dump_json(exclude={"schema_"}))
    chosen = [choose_preset(path, VOCABULARY, str(tmp_path)) for path in (None, str(PRESETS / "qwen.json"))]
    assert [choice.label for choice in chosen] == ["own (the model's own)", "qwen (configured)"]


def test_the_form_for_a_repository_is_as_far_as_the_tokenizer_has_it() -> None:
    # StarCoder2 has all of it, CodeQwen nothing.
    markers = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    forms = []
    for more in (("<file_sep>", "<repo_name>"), ("<file_sep>",), ("<repo_name>",), ()):
        preset = choose_preset(None, Words(*markers, *more)).preset
        assert preset is not None
        forms.append(preset.repo and (preset.repo.file, preset.repo.name))
    assert forms == [("<file_sep>", "<repo_name>"), ("<file_sep>", None), None, None]


def test_the_block_at_the_start_says_which_preset_and_how_it_was_found() -> None:
    facts = EngineFacts(("m",), "/m", "cpu", 2048, 4096, 0)
    for choice, line in (
        (choose_preset(None, VOCABULARY), "FIM       qwen (found from the tokenizer)"),
        (choose_preset(None, Words()), "FIM       none: the model has no such tokens"),
    ):
        state = SimpleNamespace(auth=SimpleNamespace(label="off"), journal=None, chats=SimpleNamespace(label="off"))
        engine: Any = SimpleNamespace(facts=facts)
        engines = Engines([Served(engine, preset=choice, runs=True)])
        assert f"  {line}\n" in terminal.started_block(Settings.load(), engines, state, 1.0)
