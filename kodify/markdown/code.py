"""Code with its tokens marked by classes, as far as that is worth its time."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES, Token
from pygments.util import ClassNotFound

MOST_CHARACTERS = 100_000  # of code that is looked at; the rest of a text stays plain
LONGEST_LINE = 5_000  # expressions of lexers may take the square of it
MOST_S = 1.5
CLASSES = frozenset(name for name in STANDARD_TYPES.values() if name)
_PLAIN = frozenset((Token, Token.Text, Token.Text.Whitespace))


class Highlighter:
    """Of one text: what it spends on one piece of code, it has not for the next."""

    def __init__(self) -> None:
        self._left = MOST_CHARACTERS
        self._deadline = time.monotonic() + MOST_S

    def render(self, code: str, language: str) -> str:
        """The code as HTML: in `span`s with Pygments's short classes, or only escaped."""
        lexer = self._lexer_for(code, language)
        if lexer is None:
            return escape(code, quote=False)
        self._left -= len(code)
        parts: list[str] = []
        done = 0
        for kind, value in lexer.get_tokens(code):
            if time.monotonic() > self._deadline:
                parts.append(escape(code[done:], quote=False))
                break
            done += len(value)
            text = escape(value, quote=False)
            parts.append(text if kind in _PLAIN else f'<span class="{_class_of(kind)}">{text}</span>')
        return "".join(parts)

    def _lexer_for(self, code: str, language: str) -> Lexer | None:
        if not language or len(code) > self._left or code.startswith("\ufeff") or time.monotonic() > self._deadline:
            return None
        if len(max(code.split("\n"), key=len)) > LONGEST_LINE:
            return None
        try:
            return get_lexer_by_name(language, stripnl=False, ensurenl=False)
        except ClassNotFound:
            return None


def _class_of(kind: Any) -> str:
    """A kind that has no class of its own has its parent's."""
    while kind not in STANDARD_TYPES:
        kind = kind.parent
    return str(STANDARD_TYPES[kind])
