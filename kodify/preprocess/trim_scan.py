"""A small scanner of source text: which brackets are open, and whether a character is code at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from kodify.preprocess.languages import Language

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}
BRACKETS = frozenset((*OPENERS, *CLOSERS))
TAB = 4


class Opener(NamedTuple):
    bracket: str
    indent: int
    ends_line: bool


class Signs(NamedTuple):
    """What begins a string or a comment of several lines, the characters that end any such mark, and text that has
    neither these nor brackets."""

    pairs: tuple[tuple[str, str], ...]
    ends: frozenset[str]
    ordinary: re.Pattern[str]


@cache
def read_signs(language: Language) -> Signs:
    pairs = (*language.long_quotes, language.block_comment) if language.block_comment else language.long_quotes
    marks = [opener for opener, _ in pairs] + ([language.line_comment] if language.line_comment else [])
    ends = frozenset({mark[-1] for mark in marks} | set(language.quotes))
    others = {closer[-1] for _, closer in pairs} | BRACKETS | {"\\", "\n"}
    return Signs(pairs, ends, re.compile(f"[^{re.escape(''.join(sorted(ends | others)))}]+"))


@dataclass(slots=True)
class Scanner:
    """Fed one character at a time. `stack` is never taken from but by `close`."""

    language: Language
    stack: list[Opener]
    inside: str = ""  # what ends the string or comment that the text is in
    spans_lines: bool = False
    indent: int = 0
    is_blank: bool = True  # nothing but white space on this line yet
    last: str = ""  # the line's last character of code that is not white space
    recent: str = ""
    escaped: bool = False
    signs: Signs = field(init=False)

    def __post_init__(self) -> None:
        self.signs = read_signs(self.language)

    @property
    def has_brackets(self) -> bool:
        """Prose has none that must match."""
        return self.language.blocks != "none" and bool(self.language.quotes)

    @property
    def in_line_comment(self) -> bool:
        return self.inside == "\n"

    def feed(self, character: str) -> str:
        """The closing bracket where the character is one and stands in code, else nothing."""
        if character == "\n":
            self._end_line()
            return ""
        if self.is_blank:
            if character == "\t":
                self.indent += TAB - self.indent % TAB
            elif character.isspace():
                self.indent += 1
            else:
                self.is_blank = False
        before = self.recent[-1:]
        self.recent = (self.recent + character)[-4:]
        if self.inside:
            self._feed_inside(character)
            return ""
        if character in self.signs.ends and self._opens(character, before):
            return ""
        if not character.isspace():
            self.last = character
        if character not in BRACKETS:
            return ""
        if not self.has_brackets or (before == "'" and "'" not in self.language.quotes):
            return ""
        if character in OPENERS:
            self.stack.append(Opener(character, self.indent, False))
        return character if character in CLOSERS else ""

    def run(self, text: str) -> Iterator[tuple[int, str]]:
        """Fed a whole text; tells the place of each closing bracket that stands in code, when it has come to it."""
        ordinary, at, end = self.signs.ordinary, 0, len(text)
        while at < end:
            if not self.escaped and (found := ordinary.match(text, at)):
                self._pass(found[0])
                at = found.end()
            else:
                closer = self.feed(text[at])
                if closer:
                    yield at, closer
                at += 1

    def _pass(self, text: str) -> None:
        """As `feed` for each character of what opens and closes nothing."""
        bare = text.strip()
        if self.is_blank:
            for character in text[: len(text) - len(text.lstrip())]:
                self.indent += TAB - self.indent % TAB if character == "\t" else 1
            self.is_blank = not bare
        self.recent = (self.recent + text)[-4:]
        if bare and not self.inside:
            self.last = bare[-1]

    def close(self, closer: str, floor: int = 0) -> bool:
        """Closes the innermost bracket of this kind above the floor, and what was left open in it."""
        for index in range(len(self.stack) - 1, floor - 1, -1):
            if OPENERS[self.stack[index].bracket] == closer:
                del self.stack[index:]
                return True
        return False

    def copy(self) -> Scanner:
        return Scanner(
            self.language, [*self.stack], self.inside, self.spans_lines, self.indent, self.is_blank, self.last,
            self.recent, self.escaped,
        )  # fmt: skip

    def _end_line(self) -> None:
        if self.stack and self.last == self.stack[-1].bracket:
            self.stack[-1] = self.stack[-1]._replace(ends_line=True)
        if not self.spans_lines:
            self.inside = ""
        self.indent, self.is_blank, self.last, self.recent, self.escaped = 0, True, "", "", False

    def _feed_inside(self, character: str) -> None:
        if self.in_line_comment:
            block = self.language.block_comment
            if block and block[0].startswith(self.language.line_comment or "\n") and self.recent.endswith(block[0]):
                self.inside, self.spans_lines = block[1], True
        elif self.escaped:
            self.escaped = False
        elif character == "\\" and self.inside[0] in "\"'`":
            self.escaped = True
        elif self.recent.endswith(self.inside):
            if self.spans_lines:
                self.recent = ""
            self.inside, self.spans_lines, self.last = "", False, character

    def _opens(self, character: str, before: str) -> bool:
        language = self.language
        for opener, closer in self.signs.pairs:
            if self.recent.endswith(opener):
                self.inside, self.spans_lines, self.recent = closer, True, ""
                return True
        mark = language.line_comment
        if mark and self.recent.endswith(mark):
            # "#" within a word or after "$" is no comment in half of the languages that comment with it.
            if mark != "#" or not before or before.isspace() or before in "(,;":
                self.inside = "\n"
                return True
        elif character in language.quotes and not (character == "'" and before.isalnum() and before not in "fFrRbBuUL"):
            self.inside = self.last = character
            return True
        return False
