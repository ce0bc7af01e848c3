"""The engine's tokenizer without Hugging Face's wrapper around it: text in, ids out."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

# What the fast tokenizer takes some 10 µs for, and the other one thirty times as much, is a thousand characters.
# More than this at once would be felt by every stream: that belongs in a thread.
QUICK_CHARACTERS = {True: 32_768, False: 1_024}


class PlainTokenizer:
    """A copy of its own: vLLM sets another truncation on the engine's before each use, in its threads."""

    def __init__(self, tokenizer: Any) -> None:
        backend = deepcopy(tokenizer._tokenizer)
        backend.no_truncation()
        backend.no_padding()
        self._encode = backend.encode
        self.quick_characters = QUICK_CHARACTERS[type(backend).__module__.startswith("fastokens")]

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        """`special_tokens`: with those that the tokenizer adds by itself, such as a start of text."""
        return list(self._encode(text, add_special_tokens=special_tokens).ids)
