"""Mistral's own tokenizers, which vLLM takes for a model's folder that has their files."""

from __future__ import annotations

import shutil
from pathlib import Path

import mistral_common
import pytest

from kodify.engine.vllm_vocabulary import TokenizerVocabulary
from kodify.preprocess.hole import Hole
from kodify.preprocess.presets import choose_preset
from kodify.preprocess.window import prompt_ids
from tests.unit.golden_fim.test_golden_fim import GOLDEN, PREFIX, SUFFIX

FILES = {
    "tokenizer.model.v3": "mistral_instruct_tokenizer_240323.model.v3",
    "tekken.json": "tekken_240911.json",
}


@pytest.fixture(scope="module", params=FILES)
def words(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TokenizerVocabulary:
    from vllm.tokenizers.mistral import MistralTokenizer

    folder = tmp_path_factory.mktemp("model")
    shutil.copy(Path(mistral_common.__file__).parent / "data" / FILES[request.param], folder / request.param)
    return TokenizerVocabulary(MistralTokenizer.from_pretrained(str(folder)))


def test_codestrals_prompt_comes_out_of_either_kind(words: TokenizerVocabulary) -> None:
    choice = choose_preset(None, words)
    assert choice.label == "codestral (found from the tokenizer)"
    assert choice.preset is not None
    ids = prompt_ids(Hole(PREFIX, SUFFIX), choice.preset, words, 4096)
    assert words.decode(ids) == f"<s>[SUFFIX]{SUFFIX}[PREFIX]{PREFIX}"
    if words.token_id("[PREFIX]") == 11:  # Codestral's
        assert ids == GOLDEN["codestral"]


def test_control_tokens_in_a_file_are_text(words: TokenizerVocabulary) -> None:
    text = "x [SUFFIX]\n[PREFIX] <s> </s>"
    control = {words.token_id(token) for token in ("[SUFFIX]", "[PREFIX]", "<s>", "</s>")}
    for continues in (False, True):
        ids = words.encode_plain(text, continues=continues)
        assert not set(ids) & control
        assert words.decode(ids) == text


def test_what_is_no_control_token_has_no_id(words: TokenizerVocabulary) -> None:
    assert words.token_id("<|fim_prefix|>") is None
