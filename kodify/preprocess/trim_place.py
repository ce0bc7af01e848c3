"""What stands around the cursor: its line, its block, and what the suffix closes already."""

from __future__ import annotations

from dataclasses import dataclass

from kodify.preprocess.languages import Language, is_word
from kodify.preprocess.trim_scan import OPENERS, TAB, Opener, Scanner

WINDOW = 1500
SEPARATORS = ";,:"
ONLY_CLOSES = frozenset(")]}>\"'`" + SEPARATORS + " \t")


@dataclass(frozen=True)
class Place:
    head: str  # the cursor's line, before it
    rest: str  # and after it
    indent: int
    before: tuple[str, ...]  # the last lines above that are not blank
    after: tuple[tuple[int, str], ...]  # the lines below that are not blank: indentation and text
    scanner: Scanner  # stands at the cursor
    missing: int  # how many of the open brackets the suffix does not close
    closed_by_rest: int

    @property
    def is_one_line(self) -> bool:
        if self.scanner.in_line_comment:
            return True
        if not self.rest.strip():
            return False
        opener = self.head.rstrip()[-1:]
        return not set(self.rest) <= ONLY_CLOSES or not self.rest.lstrip().startswith(OPENERS.get(opener, "\n"))

    def ends_below(self, indent: int, language: Language) -> bool:
        """Whether a word of the suffix ends the block that began at this indentation."""
        for level, line in self.after:
            if level <= indent:
                return level == indent and bool(language.begins(language.block_end, line.strip()))
        return False

    def repeats_next(self, line: str, language: Language, *, in_text: bool) -> bool:
        """Whether the line is the suffix's next one; a short one must be as deep too, and a trivial one the end of the
        text that the cursor is in."""
        if not self.after:
            return False
        level, text = self.after[0]
        return (
            line.strip() == text.strip()
            and (level == width(line) or len(text.strip()) >= 10)
            and (in_text or not is_trivial(line, language))
        )


def read_place(prefix: str, suffix: str, language: Language) -> Place:
    """Only the text nearest to the cursor is looked at."""
    near, far = prefix[-WINDOW:], suffix[:WINDOW]
    if len(near) < len(prefix):
        # A line that lost its start would be read wrong.
        near = near[near.find("\n") + 1 :]
    *above, head = near.split("\n")
    rest, *below = far.split("\n")
    if len(far) < len(suffix) and below:
        below.pop()
    scanner = Scanner(language, [])
    for _, closer in scanner.run(near):
        scanner.close(closer)
    after = tuple((width(line), line.rstrip()) for line in below if line.strip())
    missing, closed = count_missing(scanner, far, after, is_cut=len(far) < len(suffix))
    return Place(
        head=head,
        rest=rest,
        indent=width(head),
        before=tuple(line.rstrip() for line in above if line.strip())[-4:],
        after=after,
        scanner=scanner,
        missing=missing,
        closed_by_rest=closed,
    )


def count_missing(
    at_cursor: Scanner, suffix: str, after: tuple[tuple[int, str], ...], *, is_cut: bool
) -> tuple[int, int]:
    """How many brackets that are open at the cursor the suffix leaves open, and how many the cursor's line closes.

    The first closing bracket below tells by its indentation and kind: what is deeper than it was never closed.
    """
    scanner, left, closed, missing = at_cursor.copy(), [*at_cursor.stack], 0, 0
    floor, line_end = len(scanner.stack), suffix.find("\n")
    for at, closer in scanner.run(suffix):
        if scanner.close(closer, floor):
            continue
        if at > line_end >= 0:
            while left and not _closes(closer, left[-1], scanner.indent):
                left.pop()
                missing += 1
            return missing, closed
        while left and OPENERS[left[-1].bracket] != closer:
            left.pop()
            missing += 1
        if left:
            left.pop()
            closed += 1
    # No bracket below closes anything: in a whole file all are missing, else those that the next line is outside of,
    # and those that are seldom open for long.
    level = after[0][0] if is_cut and after else 0
    return missing + sum(
        opener.bracket == "(" or not opener.ends_line or opener.indent >= level for opener in left
    ), closed


def _closes(closer: str, opener: Opener, indent: int) -> bool:
    return OPENERS[opener.bracket] == closer and opener.indent <= indent


def width(line: str) -> int:
    """The columns of the line's indentation."""
    columns = 0
    for character in line:
        if character == "\t":
            columns += TAB - columns % TAB
        elif character.isspace():
            columns += 1
        else:
            break
    return columns


def is_trivial(line: str, language: Language) -> bool:
    """A line that may well stand twice: brackets, the end of a block."""
    text = line.strip()
    return sum(map(is_word, text)) < 2 or bool(language.block_end and language.begins(language.block_end, text))
