"""The completion's last line before the rest of the cursor's line: what stands twice is cut."""

from __future__ import annotations

from kodify.preprocess.languages import is_word
from kodify.preprocess.trim_place import ONLY_CLOSES, SEPARATORS
from kodify.preprocess.trim_scan import CLOSERS, Scanner

LONGEST = 2000
MIN_OVERLAP = 3


def fit(line: str, rest: str, start: Scanner, floor: int, allowed: int, ending: str) -> str:
    """`start` stands at the line's begin, with `floor` brackets open there that were open at the cursor; the line and
    the rest may close `allowed` of them and leave the text inside `ending`."""
    text, rest = line.rstrip(), rest.rstrip()
    if not text or not rest or len(text) > LONGEST:
        return line

    def reads_well(candidate: str) -> bool:
        return _reads_well(candidate + rest, start.copy(), floor, allowed, ending)

    if text.endswith(rest) and (not set(rest) <= ONLY_CLOSES) and (len(rest.strip()) > 1 or not is_word(rest.strip())):
        return text[: -len(rest)]
    overlaps = [size for size in range(min(len(text), len(rest)), 0, -1) if text.endswith(rest[:size])]
    for size in overlaps:
        if _is_significant(text, rest, size):
            return text[:-size]
    for size in overlaps:
        if rest[0] in SEPARATORS and set(rest[:size]) <= ONLY_CLOSES:
            return text[:-size]
    if overlaps and _is_unmatched(text, rest[0]) and not (rest[0] in CLOSERS and start.has_brackets):
        return text[: -overlaps[0]]
    if reads_well(text):
        return line
    for size in overlaps:
        if reads_well(text[:-size]):
            return text[:-size]
    # Where the rest alone reads badly, the scanner does not see what it belongs to.
    if not reads_well(""):
        return line
    places = [index for index, character in enumerate(text) if character in CLOSERS or character in "\"'`"]
    for index in places[-8:][::-1]:
        if reads_well(text[:index]):
            return text[:index]
    return line


def _is_significant(text: str, rest: str, size: int) -> bool:
    """Some words, and none of them a part of another word on either side."""
    overlap, following = rest[:size], rest[size : size + 1]
    if len(overlap.strip()) < MIN_OVERLAP or not any(map(is_word, overlap)):
        return False
    before = text[: -len(overlap)][-1:]
    is_part = bool(before) and is_word(before) and is_word(overlap[0])
    return not is_part and not (following and is_word(following) and is_word(overlap[-1]))


def _is_unmatched(text: str, closer: str) -> bool:
    """Counted only: for prose, and for the brackets of types and tags."""
    opener = {**CLOSERS, ">": "<"}.get(closer)
    text = text.replace("=>", "").replace("->", "")
    return opener is not None and text.count(closer) > text.count(opener)


def _reads_well(text: str, scanner: Scanner, floor: int, allowed: int, ending: str) -> bool:
    for character in text:
        closer = scanner.feed(character)
        if not closer or scanner.close(closer, floor):
            continue
        if not floor or not allowed or not scanner.close(closer, floor - 1):
            return False
        floor, allowed = floor - 1, allowed - 1
    # Most lines end in code, whatever the rest alone looks like.
    return scanner.inside in ("", "\n") or (scanner.spans_lines and scanner.inside == ending)
