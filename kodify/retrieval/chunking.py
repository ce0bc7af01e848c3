"""A document into pieces: code at functions and classes, texts at headings, paragraphs and pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from kodify.retrieval.base import Piece
from kodify.retrieval.syntax import Part, parts

OVERLAP_LINES = 3
MOST_PIECES = 5000  # of one document: generated data has more

_HEADING = re.compile(r"^(#{1,6})\s+(\S.*)$")  # its end is stripped apart: one pattern for both is cubic
_FENCE = re.compile(r"^\s{0,3}(```|~~~)")


def cut_code(text: str, language: str, most: int) -> list[Piece]:
    """At functions and classes where the language's grammar is known, else as a text."""
    lines = text.split("\n")
    found = parts(text, language)
    if found is None:
        return cut_text(text, most)
    return _bounded(piece for part in found for piece in _of_part(part, lines, most))


def _of_part(part: Part, lines: list[str], most: int) -> Iterator[Piece]:
    """Its lines, without those of the parts inside it."""
    for start, end in part.ranges:
        yield from _windows(lines, start, end, part.title, most)


def cut_markdown(text: str, most: int) -> list[Piece]:
    """By sections; a section's title is the path of the headings above."""
    lines = text.split("\n")
    above: list[tuple[int, str]] = []
    sections: list[tuple[int, int, str]] = []
    begin, fenced = 0, False
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        found = None if fenced else _HEADING.match(line)
        if found is None:
            continue
        sections.append((begin, number - 1, " > ".join(title for _, title in above)))
        level = len(found[1])
        above = [*(one for one in above if one[0] < level), (level, _without_closing(found[2])[:120])]
        begin = number
    sections.append((begin, len(lines) - 1, " > ".join(title for _, title in above)))
    return _bounded(piece for start, end, title in sections for piece in _windows(lines, start, end, title, most))


def _without_closing(title: str) -> str:
    """`Title ##` is `Title`, `C#` stays."""
    title = title.rstrip()
    bare = title.rstrip("#")
    return bare.rstrip() if bare[-1:].isspace() else title


def cut_text(text: str, most: int, title: str = "", first: int = 1) -> list[Piece]:
    lines = text.split("\n")
    return _bounded(_windows(lines, 0, len(lines) - 1, title, most, first))


def cut_pages(pages: Iterable[str], most: int) -> list[Piece]:
    """`start` and `end` of each piece are its page."""
    return _bounded(piece for number, page in enumerate(pages, 1) for piece in _of_page(page, number, most))


def _of_page(page: str, number: int, most: int) -> Iterator[Piece]:
    lines = page.split("\n")
    for piece in _windows(lines, 0, len(lines) - 1, f"page {number}", most):
        yield Piece(piece.text, number, number, piece.title)


def _bounded(pieces: Iterable[Piece]) -> list[Piece]:
    """No more are made than are kept."""
    return list(islice(pieces, MOST_PIECES))


def _windows(lines: list[str], start: int, end: int, title: str, most: int, first: int = 1) -> Iterator[Piece]:
    """Of lines `start` to `end`, cut at blank ones where that is near, each with the last few lines of the one before.
    A line that is longer than `most` is cut too."""
    while start <= end and not lines[start].strip():
        start += 1
    while end >= start and not lines[end].strip():
        end -= 1
    while start <= end:
        stop, length = start, len(lines[start]) + 1
        while stop < end and length + len(lines[stop + 1]) + 1 <= most:
            stop += 1
            length += len(lines[stop]) + 1
        if stop < end:
            blank = next((at for at in range(stop, start + (stop - start) // 2, -1) if not lines[at].strip()), None)
            if blank is not None and blank > start:
                stop = blank
        text = "\n".join(lines[start : stop + 1]).rstrip()
        for begin in range(0, max(1, len(text)), most):
            if piece := text[begin : begin + most].strip("\n"):
                yield Piece(piece, start + first, stop + first, title)
        if stop >= end:
            return
        start = max(start + 1, stop + 1 - OVERLAP_LINES if lines[stop].strip() else stop + 1)
