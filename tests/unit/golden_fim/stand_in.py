"""Small tokenizers with the families' own tokens at their own ids, behind the class that the engine's stands behind.

A stand-in has each family's way of cutting a text and the merges that the golden texts need, no more: another text
comes out in smaller pieces than the family's own tokenizer would make of it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kodify.engine.vllm_vocabulary import TokenizerVocabulary

FAMILIES = ("qwen", "starcoder", "deepseek-coder", "codellama", "codegemma", "codestral", "seed-coder")
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def data(family: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parent / f"{family}.json").read_text(encoding="utf-8"))
    return found


@cache
def vocabulary(family: str) -> TokenizerVocabulary:
    family_data = data(family)
    tokenizer = _byte_level(family, family_data) if "bytes" in family_data else _sentencepiece(family, family_data)
    # transformers gives ids to nothing that is in the vocabulary already
    added = [AddedToken(text, normalized=False) for text in family_data.get("added", {})]
    tokenizer.add_tokens(added)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in family_data["control"]])
    return TokenizerVocabulary(PreTrainedTokenizerFast(tokenizer_object=tokenizer))


def of_class(family: str, tokenizer_class: Any) -> TokenizerVocabulary:
    """The same tokens in a class that transformers has for such models."""
    family_data = data(family)
    tokens = _bytes(family_data) | _vocabulary(family_data)
    tokenizer = tokenizer_class(
        vocab=tokens, merges=_merges(family_data), extra_special_tokens=list(family_data["control"])
    )
    return TokenizerVocabulary(tokenizer)


def _bytes(family_data: dict[str, Any]) -> dict[str, int]:
    names = family_data.get("bytes") or [f"<0x{byte:02X}>" for byte in range(256)]
    return {name: family_data["first_byte"] + place for place, name in enumerate(names)}


def _vocabulary(family_data: dict[str, Any]) -> dict[str, int]:
    return {**family_data["tokens"], **family_data["control"], **family_data.get("added", {})}


def _merges(family_data: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = [tuple(merge.split(" ")) for merge in family_data["merges"]]
    return [(left, right) for left, right in pairs]


def _byte_level(family: str, family_data: dict[str, Any]) -> Tokenizer:
    tokens = _bytes(family_data) | _vocabulary(family_data)
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=_merges(family_data)))
    split: list[Any]
    match family:
        case "starcoder":
            split = [pre_tokenizers.Digits(individual_digits=True)]
        case "deepseek-coder":
            words = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")
            split = [pre_tokenizers.Split(Regex(word), "isolated") for word in words]
            split.append(pre_tokenizers.Digits(individual_digits=True))
        case _:
            tokenizer.normalizer = normalizers.NFC()
            split = [pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated")]
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family == "starcoder")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, last])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(family: str, family_data: dict[str, Any]) -> Tokenizer:
    tokens = _bytes(family_data) | _vocabulary(family_data)
    model = models.BPE(vocab=tokens, merges=_merges(family_data), byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    spaces = normalizers.Replace(" ", "▁")
    match family:
        case "codellama":
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
        case "codestral":
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
        case _:
            tokenizer.normalizer = spaces
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if family != "codegemma":
        back.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(back)
    return tokenizer
