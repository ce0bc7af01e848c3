"""The engine's tokenizer, for prompts that are put together from token ids."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any

from kodify.engine import parting
from kodify.engine.vllm_tokenizer import PlainTokenizer

# Merges with nothing, so that a text after it is encoded as if it went on from another one: both vendors whose
# formats need that (Meta, Mistral) use this character for it.
ANCHOR = "☺"


class TokenizerVocabulary:
    """Takes the tokenizer from the engine: read from its files again, it may come out another one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._plain = PlainTokenizer(tokenizer) if hasattr(tokenizer, "_tokenizer") else None
        self.quick_characters = self._plain.quick_characters if self._plain is not None else 0
        self.start_ids: list[int] = list(tokenizer.encode(""))
        self._control = self._parted = None
        if hasattr(tokenizer, "added_tokens_decoder"):
            self._added = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
            self._control = parting.matcher(self._added)
            self._parted = parting.matcher(token.content.strip() for token in _marks(tokenizer))
            self._names: dict[int, str] | None = None
        else:  # Mistral's own, which reads no control token out of a text
            self._added = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
            self._names = {index: text for text, index in self._added.items()}
        self._anchor = self._encode(ANCHOR)
        self._leading_space = self._encode("a") != self._after_anchor("a")

    def token_id(self, token: str) -> int | None:
        if token in self._added:
            return int(self._added[token])
        if self._names is not None:
            return None
        index = self._tokenizer.convert_tokens_to_ids(token)
        known = index is not None and index != self._tokenizer.unk_token_id
        return index if known and self._tokenizer.convert_ids_to_tokens([index]) == [token] else None

    def encode_plain(self, text: str, *, continues: bool = False) -> list[int]:
        """A control token's text is cut after its first character, so that it is read as plain text."""
        ids: list[int] = []
        for piece in parting.cut(text, self._control):
            ids += self._encode_piece(piece, continues)
            continues = True
        return ids

    def part(self, text: str) -> str:
        return parting.part(text, self._parted)

    def decode(self, token_ids: Sequence[int]) -> str:
        if (names := self._names) is None:
            return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=False))
        # Mistral's own keeps control tokens only in a listing of raw pieces.
        return "".join(
            names[run[0]] if run[0] in names else self._tokenizer.decode(run, skip_special_tokens=True)
            for run in _runs(token_ids, names)
        )

    def _encode_piece(self, text: str, continues: bool) -> list[int]:
        if not text:
            return []
        if not self._leading_space:
            return self._encode(text)
        # Not left to the tokenizer: some add no space before a text that begins with one, SentencePiece does.
        return self._after_anchor(text if continues else " " + text)

    def _after_anchor(self, text: str) -> list[int]:
        return self._encode(ANCHOR + text)[len(self._anchor) :]

    def _encode(self, text: str) -> list[int]:
        if self._plain is not None:
            return self._plain.encode(text)
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def _marks(tokenizer: Any) -> Iterator[Any]:
    """Added tokens that mean something: some vendors add runs of spaces and plain words too."""
    for token in tokenizer.added_tokens_decoder.values():
        text = token.content.strip()
        if text and (token.special or (len(text) > 2 and not text.isalnum())):
            yield token


def _runs(token_ids: Sequence[int], alone: Container[int]) -> list[list[int]]:
    """Neighbours together, those of `alone` each by itself."""
    runs: list[list[int]] = []
    for index in token_ids:
        if runs and index not in alone and runs[-1][0] not in alone:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs
