"""The prompt of each family is, id for id, what its vendor publishes."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from kodify.preprocess import fim
from kodify.preprocess.hole import Hole
from kodify.preprocess.presets import PRESETS, Preset, read_preset
from kodify.preprocess.window import prompt_ids
from tests.unit.golden_fim.stand_in import FAMILIES, data, of_class, vocabulary

PREFIX = "def add(a, b):\n    return "
SUFFIX = "\n\nprint(add(1, 2))\n"


def preset(family: str) -> Preset:
    return read_preset(PRESETS / f"{family}.json")


# Each list was put together by hand: control tokens from the vendor's format, texts from the vendor's vocabulary.
GOLDEN = {
    # README of Qwen2.5-Coder: <|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>; its tokenizer adds no start of text.
    "qwen": [
        *(151659, 750, 912, 2877, 11, 293, 982, 262, 470, 220),
        *(151661, 271, 1350, 25906, 7, 16, 11, 220, 17, 1171, 151660),
    ],
    # StarCoder2's paper (arXiv 2402.19173, 5.1): <fim_prefix>P<fim_suffix>S<fim_middle>; no start of text.
    "starcoder": [
        *(1, 610, 1035, 45, 102, 49, 342, 731, 303, 461, 244),
        *(3, 222, 222, 1243, 45, 688, 45, 54, 49, 244, 55, 509, 222, 2),
    ],
    # README of DeepSeek-Coder: <｜fim▁begin｜>P<｜fim▁hole｜>S<｜fim▁end｜>, given to a tokenizer whose published
    # configuration has add_bos_token: <｜begin▁of▁sentence｜>, 32013, stands first.
    "deepseek-coder": [
        *(32013, 32016, 1551, 957, 7, 64, 11, 270, 1772, 185, 315, 967, 207),
        *(32015, 185, 185, 4128, 7, 1761, 7, 16, 11, 207, 17, 1435, 185, 32017),
    ],
    # Meta's infilling_prompt_tokens: BOS, <PRE>, the prefix encoded as a text of its own (so 822 is "▁def"), <SUF>,
    # the suffix without the leading space (no 29871 before its newlines, 13), <MID>.
    "codellama": [
        *(1, 32007, 822, 788, 29898, 29874, 29892, 289, 1125, 13, 1678, 736, 29871),
        *(32008, 13, 13, 2158, 29898, 1202, 29898, 29896, 29892, 29871, 29906, 876, 13, 32009),
    ],
    # Mistral's encode_fim: BOS, [SUFFIX], the suffix without the leading space, [PREFIX], the prefix with it.
    "codestral": [
        *(1, 13, 781, 781, 2799, 29500, 1756, 29500, 29508, 29493, 29473, 29518, 1511, 781),
        *(11, 1569, 1735, 29500, 29476, 29493, 1055, 2097, 781, 3055, 1372, 29473),
    ],
}


@pytest.mark.parametrize("family", GOLDEN)
def test_the_prompt_of_a_family(family: str) -> None:
    assert prompt_ids(Hole(PREFIX, SUFFIX), preset(family), vocabulary(family), 4096) == GOLDEN[family]


@pytest.mark.parametrize(
    ("family", "tokenizer_class"),
    [
        ("qwen", transformers.Qwen2Tokenizer),
        ("codellama", transformers.CodeLlamaTokenizer),
        ("codellama", transformers.LlamaTokenizer),
        ("codestral", transformers.LlamaTokenizer),
    ],
)
def test_the_prompt_is_the_same_from_the_class_that_the_model_is_loaded_with(family: str, tokenizer_class: Any) -> None:
    words = of_class(family, tokenizer_class)
    assert prompt_ids(Hole(PREFIX, SUFFIX), preset(family), words, 4096) == GOLDEN[family]


def test_the_prompt_of_codegemma() -> None:
    # Google's prompt structure: <|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>, no space around; Gemma's tokenizer
    # begins with <bos>, 2, and puts no space before a text: 1596 is "This", 235269 is ",".
    hole = Hole("This is a test.\n", ", 1\n\nHi   Hello")
    ids = prompt_ids(hole, preset("codegemma"), vocabulary("codegemma"), 4096)
    assert ids == [
        *(2, 67, 1596, 603, 476, 2121, 235265, 108),
        *(69, 235269, 235248, 235274, 109, 2151, 140, 4521, 68),
    ]


def repository_level(family: str, repository: str | None) -> list[int]:
    shape, words = preset(family), vocabulary(family)
    assert shape.repo is not None
    return fim.render(
        shape,
        words,
        fim.encode_before(shape, words, PREFIX),
        fim.encode_after(words, SUFFIX),
        [fim.encode_file(shape.repo, words, "shop/tax.py", "RATE = 2\n")],
        repository=repository,
        path="shop/cart.py",
    )


# README of Qwen2.5-Coder: <|repo_name|>R\n<|file_sep|>path\ntext\n<|file_sep|>current\n<|fim_prefix|>…; the newline
# after the other file's text comes on top of its own: together they are one token, 271.
QWEN_REPOSITORY = [151663, 8675, 198]
QWEN_FILES = [
    *(151664, 8675, 5523, 706, 7197, 198, 60696, 284, 220, 17, 271),
    *(151664, 8675, 56677, 7197, 198),
]
# StarCoder2's paper: <repo_name>R<file_sep>path\ntext<file_sep><fim_prefix>current\nP…: nothing after the name and the
# file, and the current file's path inside the prefix.
STARCODER_REPOSITORY = [5, 5579]
STARCODER_FILES = [
    *(6, 5579, 52, 9164, 51, 997, 222, 19568, 299, 244, 55, 222),
    *(6, 1, 5579, 52, 6835, 51, 997, 222),
]


def test_a_repository_in_qwens_form() -> None:
    assert repository_level("qwen", "shop") == [*QWEN_REPOSITORY, *QWEN_FILES, *GOLDEN["qwen"]]
    assert repository_level("qwen", None) == [*QWEN_FILES, *GOLDEN["qwen"]]


def test_a_repository_in_starcoders_form() -> None:
    assert repository_level("starcoder", "shop") == [*STARCODER_REPOSITORY, *STARCODER_FILES, *GOLDEN["starcoder"][1:]]
    assert repository_level("starcoder", None) == [*STARCODER_FILES, *GOLDEN["starcoder"][1:]]


def test_comment_lines_stand_before_the_prefix_where_there_is_no_form_for_a_repository() -> None:
    shape, words = preset("codellama"), vocabulary("codellama")
    block = fim.encode_before(shape, words, "def")
    before = fim.encode_before(shape, words, " add", first=False)
    # "▁def" has the leading space of the whole part, "▁add" the one that was written
    assert fim.render(shape, words, before, [], [block]) == [1, 32007, 822, 788, 32008, 32009]
    assert fim.encode_before(shape, words, "def", first=False) == [1753]


def test_mistrals_own_library_makes_the_same_prompt() -> None:
    from mistral_common.protocol.fim.request import FIMRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    published = MistralTokenizer.v3().encode_fim(FIMRequest(prompt=PREFIX, suffix=SUFFIX))
    assert published.tokens == GOLDEN["codestral"]


def as_decoded(family: str, text: str) -> str:
    """SentencePiece has one token for a space and for the sign that it writes spaces with."""
    return text if "bytes" in data(family) else text.replace("▁", " ")


@pytest.mark.parametrize("family", FAMILIES)
def test_markers_in_a_file_are_text(family: str) -> None:
    shape, words, control = preset(family), vocabulary(family), data(family)["control"]
    markers = "".join(f"x {marker}{marker[1:]} {marker}\n{marker}" for marker in control)
    for text in (markers, "".join(control)):
        ids = words.encode_plain(text)
        assert not set(ids) & set(control.values())
        assert words.decode(ids) == as_decoded(family, text)
    prompt = prompt_ids(Hole(markers, markers), shape, words, 100_000)
    expected = [words.token_id(marker) for marker in (shape.bos, shape.prefix, shape.suffix, shape.middle) if marker]
    assert sorted(index for index in prompt if index in control.values()) == sorted(filter(None, expected))


@pytest.mark.parametrize("family", FAMILIES)
@given(pieces=st.data())
def test_any_text_keeps_to_plain_tokens_and_comes_back(family: str, pieces: st.DataObject) -> None:
    control = data(family)["control"]
    parts = st.sampled_from([*control, "<", "|", "[", "▁", "é", " ", "  ", "\n", "\t", "def", "日", "🦙"])
    text = "".join(pieces.draw(st.lists(parts, max_size=12)))
    whole, rest = vocabulary(family).encode_plain(text), vocabulary(family).encode_plain(text, continues=True)
    assert not (set(whole) | set(rest)) & set(control.values())
    assert vocabulary(family).decode(whole) == as_decoded(family, text)


def test_an_added_token_of_one_character_is_just_that_character() -> None:
    assert vocabulary("deepseek-coder").encode_plain("ü") == [32009]


def test_a_space_that_begins_a_text_is_kept_beside_the_leading_one() -> None:
    for family, two_spaces in (("codellama", 259), ("codestral", 1027)):
        assert vocabulary(family).encode_plain(" 1")[0] == two_spaces


def test_only_tokenizers_that_begin_with_a_space_have_one_to_leave_out() -> None:
    whole = {family: vocabulary(family).encode_plain("def") for family in FAMILIES}
    rest = {family: vocabulary(family).encode_plain("def", continues=True) for family in FAMILIES}
    assert {family for family in FAMILIES if whole[family] != rest[family]} == {"codellama", "codestral"}
