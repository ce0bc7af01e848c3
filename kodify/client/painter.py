"""Answers and diffs on a terminal: Markdown and code in colours, line by line as they come."""

from __future__ import annotations

import re
from typing import TextIO

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

THEME = "ansi_dark"  # the terminal's own colours
LOOKED_BACK = 200  # lines of a block by which the next one is coloured
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*([\w+#.-]*)")
_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_BULLET = re.compile(r"^(\s*)([-*+]|\d+[.)])(?=\s)")
# What would steer the terminal is shown by its picture.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD) | dict.fromkeys(
    (*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD
)


def harmless(text: str) -> str:
    return text.replace("\r\n", "\n").translate(_PICTURES)


class Painter:
    """Of an answer. Without a terminal the text goes through as it comes, or not at all where code is hidden."""

    def __init__(self, out: TextIO, *, hides_code: bool = False) -> None:
        self._out = out
        self._is_live = out.isatty()
        self._hides_code = hides_code
        self._console = Console(file=out, highlight=False, soft_wrap=True)
        self._waiting = ""
        self._fence: str | None = None
        self._language = ""
        self._block: list[str] = []
        self._counted = 0
        self._is_open = False  # a line without its end has been written

    def feed(self, text: str) -> None:
        if not self._is_live:
            if not self._hides_code:
                self._out.write(text)
                self._out.flush()
                self._is_open = not text.endswith("\n")
            return
        *lines, self._waiting = (self._waiting + text).split("\n")
        for line in lines:
            self._paint(harmless(line.removesuffix("\r")))

    def close(self) -> None:
        if self._is_live and self._waiting:
            self._paint(harmless(self._waiting))
        self._waiting = ""
        if self._is_open:
            self._out.write("\n")
            self._is_open = False
        self._clear_count()
        self._out.flush()

    def _paint(self, line: str) -> None:
        found = _FENCE.match(line)
        if self._fence is None:
            if found is not None:
                self._fence, self._language, self._block = found[1], found[2], []
                self._code_line(line, is_fence=True)
                return
            self._clear_count()
            if not self._hides_code or line.strip():
                self._console.print(markdown(line))
            return
        if found is not None and not found[2] and found[1].startswith(self._fence):
            self._fence = None
            self._code_line(line, is_fence=True)
            return
        self._block.append(line)
        self._code_line(line, is_fence=False)

    def _code_line(self, line: str, *, is_fence: bool) -> None:
        if self._hides_code:
            self._counted += not is_fence
            self._out.write(f"\r\033[K… {self._counted} lines of code")
            self._out.flush()
        elif is_fence:
            self._console.print(Text(line, "dim"))
        else:
            self._console.print(self._coloured())

    def _coloured(self) -> Text:
        """The block's newest line."""
        shown = self._block[-LOOKED_BACK:]
        code = "\n".join(shown)
        painted = Syntax(code, self._language or "text", theme=THEME, background_color="default").highlight(code)
        lines = painted.split("\n", allow_blank=True)
        return lines[min(len(shown), len(lines)) - 1]

    def _clear_count(self) -> None:
        if self._counted:
            self._counted = 0
            self._out.write("\r\033[K")


def markdown(line: str) -> Text:
    if line.startswith("#"):
        return Text(line, "bold cyan")
    painted, place = Text(), 0
    for found in _INLINE.finditer(line):
        painted.append(line[place : found.start()])
        if found[1] is not None:
            painted.append(found[1], "cyan")
        else:
            painted.append(found[2], "bold")
        place = found.end()
    painted.append(line[place:])
    if bullet := _BULLET.match(line):
        painted.stylize("yellow", bullet.start(2), bullet.end(2))
    return painted


def print_diff(diff: str, out: TextIO) -> None:
    """In colours on a terminal, as it is elsewhere."""
    if not out.isatty():
        out.write(diff)
        out.flush()
        return
    console = Console(file=out, highlight=False, soft_wrap=True)
    for line in harmless(diff).removesuffix("\n").split("\n"):
        console.print(Text(line, _style(line)))


def _style(line: str) -> str:
    if line.startswith(("--- ", "+++ ")):
        return "bold"
    if line.startswith("@@"):
        return "cyan"
    return {"+": "green", "-": "red", "\\": "dim"}.get(line[:1], "")
