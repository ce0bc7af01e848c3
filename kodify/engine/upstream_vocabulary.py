"""The vocabulary of a model whose tokenizer is elsewhere: pieces of text as numbers, which become text again."""

from __future__ import annotations

from collections.abc import Sequence

from kodify.engine import parting

# Short of what a token of code holds (3 and more): a prompt that is cut by these fits the model's context.
CHARACTERS = 2
_BITS = 21  # of a character
_PIECE = 1 << 60  # above any token's id
_MARKER = 1 << 61


class TextVocabulary:
    """Only `markers`, of a preset that somebody configured, are taken for single tokens: nothing here can tell. What
    reads like one in somebody's text is parted by a zero-width space, for the other server would take it for one."""

    quick_characters = 1_000_000
    start_ids = ()

    def __init__(self, markers: Sequence[str] = ()) -> None:
        self.markers = tuple(markers)
        self._parted = parting.matcher(self.markers)

    def token_id(self, token: str) -> int | None:
        return _MARKER + self.markers.index(token) if token in self.markers else None

    def encode_plain(self, text: str, *, continues: bool = False) -> list[int]:
        text = self.part(text)
        ends = range(0, len(text), CHARACTERS)
        return [sum((ord(c) + 1) << (_BITS * i) for i, c in enumerate(text[s : s + CHARACTERS])) + _PIECE for s in ends]

    def part(self, text: str) -> str:
        return parting.part(text, self._parted)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Tokens' ids have no text here."""
        return "".join(map(self._text, token_ids))

    def is_text(self, token_ids: Sequence[int]) -> bool:
        """Whether these are this vocabulary's numbers, and not a tokenizer's ids."""
        return any(index >= _PIECE for index in token_ids)

    def _text(self, index: int) -> str:
        if index >= _MARKER:
            position = index - _MARKER
            return self.markers[position] if position < len(self.markers) else ""
        text = ""
        rest = index - _PIECE
        while rest > 0:
            code = (rest & ((1 << _BITS) - 1)) - 1
            text += chr(code) if 0 <= code <= 0x10FFFF else ""  # a caller may send any number
            rest >>= _BITS
        return text
