"""Fill-in-the-middle prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kodify.engine.scripted import CharacterVocabulary
from kodify.preprocess import fim
from kodify.preprocess.presets import PRESETS, RepositoryForm, read_preset

VOCABULARY = CharacterVocabulary()
PREFIX, SUFFIX, MIDDLE = (VOCABULARY.token_id(f"<|fim_{part}|>") or 0 for part in ("prefix", "suffix", "middle"))
PRESET = read_preset(PRESETS / "qwen.json")


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


def test_a_repositorys_files_are_told_before_the_prefix_and_only_with_them_its_path() -> None:
    form = RepositoryForm(file="<|endoftext|>")
    shape = PRESET.model_copy(update={"repo": form})
    block = fim.encode_file(form, VOCABULARY, "p", "t")
    assert block == [ord("p"), ord("\n"), ord("t")]
    file = VOCABULARY.token_id("<|endoftext|>")
    ids = fim.render(shape, VOCABULARY, [1], [2], [block, block], repository="r", path="q")
    assert ids == [file, *block, file, *block, file, ord("q"), ord("\n"), PREFIX, 1, SUFFIX, 2, MIDDLE]
    assert fim.render(shape, VOCABULARY, [1], [2], [block])[3:6] == [ord("t"), file, PREFIX]
    assert fim.render(shape, VOCABULARY, [1], [2], repository="r", path="q") == [PREFIX, 1, SUFFIX, 2, MIDDLE]


def test_blocks_without_a_repositorys_form_come_first_in_the_prefix_in_either_order() -> None:
    plain = PRESET.model_copy(update={"repo": None})
    assert fim.render(plain, VOCABULARY, [1], [2], [[3], [4]], path="q") == [PREFIX, 3, 4, 1, SUFFIX, 2, MIDDLE]
    other = plain.model_copy(update={"order": "suffix-prefix-middle", "middle": None})
    assert fim.render(other, VOCABULARY, [1], [2], [[3], [4]]) == [SUFFIX, 2, PREFIX, 3, 4, 1]


def test_every_marker_ends_a_completion() -> None:
    form = RepositoryForm(file="x", name="<|file_sep|>")
    shape = PRESET.model_copy(update={"repo": form, "stop": ("<|endoftext|>", "<|fim_middle|>", "no such token")})
    end = VOCABULARY.token_id("<|endoftext|>")
    assert fim.stop_ids(shape, VOCABULARY) == [end, MIDDLE, PREFIX, SUFFIX, ord("x")]
