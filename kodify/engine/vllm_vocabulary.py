"""The engine's tokenizer, for prompts that are put together from token ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kodify.engine.vllm_tokenizer import PlainTokenizer


class TokenizerVocabulary:
    """Takes the tokenizer from the engine: read from its files again, it may come out another one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._plain = PlainTokenizer(tokenizer) if hasattr(tokenizer, "_tokenizer") else None
        self.quick_characters = self._plain.quick_characters if self._plain is not None else 0
        self._added = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
        longest_first = sorted(self._added, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def token_id(self, token: str) -> int | None:
        if token in self._added:
            return int(self._added[token])
        index = self._tokenizer.convert_tokens_to_ids(token)
        known = index is not None and index != self._tokenizer.unk_token_id
        return index if known and self._tokenizer.convert_ids_to_tokens(index) == token else None

    def encode_plain(self, text: str) -> list[int]:
        """A control token's text is cut after its first character, so that it is read as plain text."""
        ids: list[int] = []
        start = 0
        if self._control is not None:
            for match in self._control.finditer(text):
                cut = match.start() + 1
                ids += self._encode(text[start:cut])
                start = cut
        return ids + self._encode(text[start:])

    def decode(self, token_ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        if self._plain is not None:
            return self._plain.encode(text)
        return list(self._tokenizer.encode(text, add_special_tokens=False))
