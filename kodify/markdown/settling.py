"""Markdown while it is being written: what can no longer change is rendered once, and never again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt

from kodify.markdown.html import MOST_NESTED, render

LONG_LIST = 2_000  # characters, after which a list is settled by items
_ENOUGH = 12  # characters of a line that tell whether it is an item
_FENCE = re.compile(r"[ \t]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+|>[ \t]?)*(`{3,}|~{3,})(.*)", re.DOTALL)
_ITEM = re.compile(r"([-+*]|\d{1,9}[.)])(\s|$)")
_AFTER = "after"  # a paragraph that stands where the next block will

_BLOCKS = MarkdownIt("commonmark", {"html": False, "maxNesting": MOST_NESTED}).enable("table")
_BLOCKS.disable(["html_block", "inline", "text_join"])


@dataclass(frozen=True, slots=True)
class Settled:
    """`html` belongs behind all that was settled before; `end`: so many of the text's characters are shown by then."""

    html: str
    end: int


class Settling:
    """A text that grows. A block is settled when a blank line and the start of another block follow it.

    Each line is looked at once, and each settled piece rendered once: the cost is linear in the text. A link that is
    defined further down is not known in what was settled before; the whole text's rendering knows it.
    """

    def __init__(self, end: int = 0) -> None:
        """`end`: so many characters of the text were settled elsewhere; what is added follows them."""
        self._end = end
        self._lines: list[str] = []  # whole ones that are not settled
        self._length = 0  # of these
        self._line: list[str] = []  # the last, as far as it has come
        self._head = ""  # its beginning
        self._candidate = 0  # so many of the lines may be settled
        self._fence = ""  # the mark of the open one
        self._after_blank = False
        self._in_list = False
        self._next_try = 0  # no look at fewer lines than these

    def add(self, piece: str) -> None:
        """A piece of the text; takes no notable time."""
        first, *others = piece.split("\n")
        self._extend(first)
        for part in others:
            line = "".join((*self._line, "\n"))
            self._look_at(line)
            self._lines.append(line)
            self._length += len(line)
            self._line, self._head = [], ""
            self._extend(part)
        if len(self._head) >= _ENOUGH:
            self._look_for_block(self._head)

    @property
    def ready(self) -> int:
        """0, or how many characters `settle` may have to render."""
        return self._length if self._candidate and self._candidate >= self._next_try else 0

    def settle(self) -> Settled | None:
        """What has become settled since; None where nothing has. May take long: belongs in a thread."""
        count = self._candidate
        if not count or count < self._next_try:
            return None
        text = "".join(self._lines[:count])
        self._candidate = 0
        if not _is_closed(text):
            self._next_try = 2 * count
            return None
        self._next_try = 0
        del self._lines[:count]
        self._length -= len(text)
        self._end += len(text)
        return Settled(render(text), self._end)

    def _extend(self, part: str) -> None:
        if part:
            self._line.append(part)
            if len(self._head) < _ENOUGH:
                self._head += part[:_ENOUGH]

    def _look_at(self, line: str) -> None:
        if self._fence:
            stripped = line.strip(" \t>\r\n")
            if stripped.startswith(self._fence) and not stripped.strip(self._fence[0]):
                self._fence = ""
            self._after_blank = False
            return
        self._look_for_block(line)
        self._after_blank = not line.strip()
        self._in_list = self._in_list or _ITEM.match(line) is not None
        if (found := _FENCE.match(line)) and not (found[1][0] == "`" and "`" in found[2]):
            self._fence = found[1]

    def _look_for_block(self, line: str) -> None:
        """Whether a block begins with the line that follows the whole ones."""
        if self._fence or not self._after_blank or not line.strip() or line[0].isspace():
            return
        if self._in_list and _ITEM.match(line) and self._length < LONG_LIST:
            return  # an item belongs to its list: alone it may look different
        self._candidate = len(self._lines)
        self._in_list = False
        self._after_blank = False


def _is_closed(text: str) -> bool:
    """Whether a paragraph that follows is one of its own: the parser knows better than the lines tell."""
    last = _BLOCKS.parse(text + _AFTER)[-3:]
    return [token.type for token in last] == ["paragraph_open", "inline", "paragraph_close"] and (
        last[0].level == 0 and last[1].content == _AFTER
    )
