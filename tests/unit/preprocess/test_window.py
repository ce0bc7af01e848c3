"""The budget of a prompt, and what stays of it from keystroke to keystroke."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodify.engine.scripted import CharacterVocabulary
from kodify.preprocess.hole import Hole, Snippet
from kodify.preprocess.languages import find_language
from kodify.preprocess.presets import PRESETS, Preset, RepositoryForm, read_preset
from kodify.preprocess.window import prompt_ids


class WordVocabulary(CharacterVocabulary):
    """One token a word, up to four characters, and a line's indentation is one."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self.ids: dict[str, int] = {}

    def encode_plain(self, text: str, *, continues: bool = False) -> list[int]:
        pieces = re.findall(r" *\n|\s{1,8}|\w{1,4}|.", text)
        for piece in pieces:
            if piece not in self.ids:
                self.ids[piece] = len(self.known)
                self.known.append(piece)
        return [self.ids[piece] for piece in pieces]

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(self.markers[i - 0x110000] if i >= 0x110000 else self.known[i] for i in token_ids)


VOCABULARY = WordVocabulary()
QWEN = read_preset(PRESETS / "qwen.json").model_copy(update={"repo": None})
SUFFIX_FIRST = QWEN.model_copy(update={"order": "suffix-prefix-middle"})
PREFIX, SUFFIX, MIDDLE = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"
CODE = "".join(f"    value_{number:04} = compute({number})\n" for number in range(400))


def shown(hole: Hole, budget: int = 4000, preset: Preset | None = QWEN) -> str:
    ids = prompt_ids(hole, preset, VOCABULARY, budget)
    assert len(ids) <= budget
    return VOCABULARY.decode(ids)


def shared(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_a_small_file_is_there_whole() -> None:
    assert shown(Hole("def f(", "):\n")) == f"{PREFIX}def f({SUFFIX}):\n{MIDDLE}"
    assert shown(Hole("def f(", "):\n"), preset=SUFFIX_FIRST) == f"{SUFFIX}):\n{PREFIX}def f({MIDDLE}"
    assert shown(Hole("def f(", "):\n"), preset=None) == "def f("


def test_a_large_file_loses_its_ends() -> None:
    text = shown(Hole(CODE, CODE), 500)
    before, _, after = text.removeprefix(PREFIX).removesuffix(MIDDLE).partition(SUFFIX)
    assert CODE.endswith(before)
    assert before.startswith("    value_")  # a line's start
    assert CODE.startswith(after)
    assert len(VOCABULARY.encode_plain(after)) == 124  # a quarter
    assert 250 < len(VOCABULARY.encode_plain(before)) <= 373


@pytest.mark.parametrize("preset", [QWEN, SUFFIX_FIRST])
def test_a_keystroke_changes_the_end_of_the_prefix_alone(preset: Preset) -> None:
    """Typing 600 characters: nearly always all that stood before the cursor stays as it was."""
    typed = "x = first(second, third)\n" * 24
    prompts = [shown(Hole(CODE + typed[:count], CODE), 500, preset) for count in range(len(typed))]
    kept = [shared(one, other) for one, other in itertools.pairwise(prompts)]
    ends = [prompt.index(MIDDLE if preset is SUFFIX_FIRST else SUFFIX) for prompt in prompts]
    moved = [count for count, end in zip(kept, ends, strict=False) if count < end]
    assert len(moved) <= 3, kept


def test_what_the_suffix_leaves_goes_to_the_prefix_and_the_other_way_round() -> None:
    alone = shown(Hole(CODE, ""), 500).removeprefix(PREFIX).removesuffix(SUFFIX + MIDDLE)
    assert len(VOCABULARY.encode_plain(alone)) > 373
    text = shown(Hole("x = ", CODE), 500).removesuffix(MIDDLE)
    assert text.startswith(f"{PREFIX}x = {SUFFIX}")
    assert 500 - 128 < len(VOCABULARY.encode_plain(text.partition(SUFFIX)[2])) <= 500


def test_dense_text_moves_rarely_too() -> None:
    """Texts of whose characters each is a token, as other scripts than Latin may be."""
    vocabulary = CharacterVocabulary()
    text = "".join(f"значение {number} = вычислить({number})\n" for number in range(500))
    prompts = [prompt_ids(Hole(text[: 9000 + count], text), QWEN, vocabulary, 500) for count in range(255)]
    kept = [one[1 : 1 + 64] == other[1 : 1 + 64] for one, other in itertools.pairwise(prompts)]
    assert kept.count(False) <= 6
    assert all(len(prompt) > 124 + 373 // 2 for prompt in prompts)


def test_a_line_without_end() -> None:
    text = shown(Hole("x" * 100_000, ""), 1000)
    assert 2000 < text.count("x") <= 4000


def test_other_files_are_comments_of_the_language_before_the_code() -> None:
    context = (Snippet("z.py", "def z():\n    pass\n"), Snippet("a.py", "A = 1"))
    hole = Hole("x = ", "\n", find_language("python"), context=context)
    assert shown(hole) == (
        f"{PREFIX}# Path: a.py\n# A = 1\n# Path: z.py\n# def z():\n#     pass\nx = {SUFFIX}\n{MIDDLE}"
    )


def test_other_files_in_the_repositorys_form() -> None:
    form = RepositoryForm(file="<|endoftext|>")  # a marker that this vocabulary has
    preset = QWEN.model_copy(update={"repo": form})
    hole = Hole("x = ", "\n", path="m.py", context=(Snippet("a.py", "A = 1\n"),))
    assert shown(hole, preset=preset) == (
        f"<|endoftext|>a.py\nA = 1\n<|endoftext|>m.py\n{PREFIX}x = {SUFFIX}\n{MIDDLE}"
    )


def test_other_files_have_a_share_and_what_matters_first_gets_it() -> None:
    pieces = tuple(Snippet(f"{name}.py", "y" * 1200) for name in "zyxwv")
    text = shown(Hole(CODE, CODE, find_language("python"), context=pieces), 3000)
    assert [name for name in "vwxyz" if f"{name}.py" in text] == ["y", "z"]
    assert text.index("y.py") < text.index("z.py")
    own_order = shown(Hole(CODE, CODE, find_language("python"), context=pieces, stable=True), 3000)
    assert [name for name in "zyxwv" if f"{name}.py" in own_order] == ["w", "v"]  # its newest are its last
    assert own_order.index("w.py") < own_order.index("v.py")


def test_the_order_of_other_files_does_not_change_the_prompt() -> None:
    pieces = tuple(Snippet(f"{name}.py", name) for name in "cab")
    assert shown(Hole("x", "", context=pieces)) == shown(Hole("x", "", context=pieces[::-1]))


def test_markers_in_the_text_are_text() -> None:
    text = f"{PREFIX}{SUFFIX}{MIDDLE}<|endoftext|>"
    ids = prompt_ids(Hole(text, text, context=(Snippet(text, text),)), QWEN, VOCABULARY, 4000)
    assert [index for index in ids if index >= 0x110000] == [
        VOCABULARY.token_id(marker) for marker in (PREFIX, SUFFIX, MIDDLE)
    ]


@given(
    st.text(alphabet="ab \n", max_size=800),
    st.text(alphabet="ab \n", max_size=800),
    st.lists(st.text(alphabet="ab\n", max_size=200), max_size=4),
    st.integers(0, 900),
    st.sampled_from([QWEN, SUFFIX_FIRST, None]),
)
def test_any_budget_holds(prefix: str, suffix: str, others: list[str], budget: int, preset: Preset | None) -> None:
    context = tuple(Snippet(f"{number}", text) for number, text in enumerate(others))
    ids = prompt_ids(Hole(prefix, suffix, context=context), preset, VOCABULARY, budget)
    assert len(ids) <= max(budget, 3)  # the markers are always there
    text = VOCABULARY.decode(ids)
    if preset is not None:
        assert all(text.count(marker) == 1 for marker in (PREFIX, SUFFIX, MIDDLE))
