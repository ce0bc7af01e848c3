"""HTML as text: headings become Markdown's, blocks lines; scripts, styles and what is not shown are left out.

By libxml2, which reads in one pass what the standard library's parser would read again from every `<`.
"""

from __future__ import annotations

import re

from lxml import etree

from kodify.retrieval.base import SkippedError

MOST_DEPTH = 5000
_AT_ONCE = 1 << 16

_SILENT = frozenset({"script", "style", "template", "noscript", "svg", "title"})
_BLOCKS = frozenset(
    {
        "p", "div", "li", "tr", "br", "section", "article", "pre", "table", "ul", "ol", "dl", "dt", "dd", "blockquote",
        "hr", "main", "header", "footer", "body", "aside", "nav", "form", "figure", "figcaption", "details", "summary",
    }
)  # fmt: skip
_MARKS = {f"h{level}": "\n\n" + "#" * level + " " for level in range(1, 7)}
_MARKS |= dict.fromkeys(_BLOCKS, "\n") | {"td": " ", "th": " "}


class _Plain:
    """What the parser tells its events to."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._open: list[str] = []
        self._silent = 0  # of those that are open

    def start(self, tag: str, attributes: object) -> None:
        if len(self._open) >= MOST_DEPTH:
            raise SkippedError("its elements stand in one another too deep")
        if tag in _MARKS and self._silent:
            self._end_drawing()
        self._open.append(tag)
        if tag in _SILENT:
            self._silent += 1
        elif tag in _MARKS and not self._silent:
            self.parts.append(_MARKS[tag])

    def end(self, tag: str) -> None:
        if self._open.pop() in _SILENT:
            self._silent -= 1
        elif tag in _MARKS and not self._silent:
            self.parts.append("" if tag in ("td", "th") else "\n")

    def data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(re.sub(r"[ \t]+", " ", data))

    def comment(self, text: str) -> None:
        pass

    def close(self) -> str:
        return "".join(self.parts)

    def _end_drawing(self) -> None:
        """A block that stands in a drawing is none of it: the drawing was never closed."""
        if "svg" in self._open:
            self._open = ["" if tag == "svg" else tag for tag in self._open]
            self._silent = sum(tag in _SILENT for tag in self._open)


def plain(text: str) -> str:
    """Raises SkippedError."""
    parser = etree.HTMLParser(target=_Plain(), encoding="utf-8", huge_tree=True, recover=True)
    data = text.encode("utf-8", "replace")
    for begin in range(0, len(data), _AT_ONCE):
        parser.feed(data[begin : begin + _AT_ONCE])
    shown = str(parser.close()) if data.strip() else ""
    lines = (line.strip() for line in shown.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
