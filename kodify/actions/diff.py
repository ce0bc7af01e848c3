"""Unified diffs: made so that `git apply` takes them, and applied where nothing but the very text will do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from kodify.actions.mending import key

CONTEXT_LINES = 3
MOST_COMPARED = 4_000_000  # pairs of lines; beyond it all between the first and the last change counts as changed
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NO_END = "\\ No newline at end of file"

Change = tuple[int, int, int, int]  # old lines from, to; new lines from, to


class DoesNotApplyError(ValueError):
    """The text is not the one that the diff was made for."""


def replaced(old: Sequence[str], bounds: tuple[int, int], new: Sequence[str]) -> tuple[list[str], list[Change]]:
    """All lines with `new` in the place of those between the bounds, and what changed. A line that is the same but for
    its end stays as it was."""
    first, last = bounds
    ready = list(new)
    changes = []
    for a, b, c, d in _changes([_compared(line) for line in old[first:last]], [_compared(line) for line in new]):
        changes.append((first + a, first + b, first + c, first + d))
    place, behind = first, first
    for a, b, _, d in [*changes, (last, last, first + len(ready), first + len(ready))]:
        for step in range(a - place):
            ready[behind - first + step] = old[place + step]
        place, behind = b, d
    return [*old[:first], *ready, *old[last:]], changes


def unified(old: Sequence[str], new: Sequence[str], changes: Sequence[Change], path: str) -> str:
    """Empty where nothing changed. Lines end at line feeds only."""
    if not changes:
        return ""
    shown = [f"--- {_named('a/' + path)}\n+++ {_named('b/' + path)}\n"]
    for group in _groups(changes):
        start, end = max(0, group[0][0] - CONTEXT_LINES), min(len(old), group[-1][1] + CONTEXT_LINES)
        after_start, after_end = group[0][2] - (group[0][0] - start), group[-1][3] + (end - group[-1][1])
        shown.append(f"@@ -{_range(start, end)} +{_range(after_start, after_end)} @@\n")
        place = start
        for a, b, c, d in group:
            shown += [_line(" ", line) for line in old[place:a]]
            shown += [_line("-", line) for line in old[a:b]]
            shown += [_line("+", line) for line in new[c:d]]
            place = b
        shown += [_line(" ", line) for line in old[place:end]]
    return "".join(shown)


def patch(text: str, diff: str) -> str:
    """The text after the diff. Raises DoesNotApplyError unless each hunk stands exactly where it says."""
    old = _lines(text)
    new: list[str] = []
    place = 0
    rows = diff.split("\n")
    position = next((number for number, row in enumerate(rows) if row.startswith("@@ ")), len(rows))
    while position < len(rows) and (found := _HUNK.match(rows[position])):
        count = 1 if found[2] is None else int(found[2])
        start = int(found[1]) - (1 if count else 0)
        if not place <= start <= len(old):
            raise DoesNotApplyError("a hunk stands outside the text")
        new += old[place:start]
        place, position = start, position + 1
        while position < len(rows) and rows[position][:1] in (" ", "-", "+"):
            sign, line = rows[position][0], rows[position][1:] + "\n"
            position += 1
            if position < len(rows) and rows[position] == _NO_END:
                line, position = line[:-1], position + 1
            if sign != "+":
                if place >= len(old) or old[place] != line:
                    raise DoesNotApplyError(f"line {place + 1} is not what the diff says")
                place += 1
            if sign != "-":
                new.append(line)
    return "".join([*new, *old[place:]])


def _compared(line: str) -> str:
    """A last line that has no end is another than one that has: something may follow it now."""
    return key(line) if line.endswith("\n") else key(line) + "\0"


def _lines(text: str) -> list[str]:
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _changes(old: list[str], new: list[str]) -> list[Change]:
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    a, b, c, d = start, len(old) - end, start, len(new) - end
    if a == b and c == d:
        return []
    if (b - a) * (d - c) > MOST_COMPARED:
        return [(a, b, c, d)]
    matcher = SequenceMatcher(None, old[a:b], new[c:d])
    return [(a + i, a + j, c + k, c + m) for tag, i, j, k, m in matcher.get_opcodes() if tag != "equal"]


def _groups(changes: Sequence[Change]) -> list[list[Change]]:
    groups = [[changes[0]]]
    for change in changes[1:]:
        if change[0] - groups[-1][-1][1] <= 2 * CONTEXT_LINES:
            groups[-1].append(change)
        else:
            groups.append([change])
    return groups


def _range(start: int, end: int) -> str:
    count = end - start
    return f"{start + 1 if count else start}" if count == 1 else f"{start + 1 if count else start},{count}"


def _line(sign: str, line: str) -> str:
    return sign + line if line.endswith("\n") else f"{sign}{line}\n{_NO_END}\n"


def _named(name: str) -> str:
    """As git writes names: quoted where they have odd characters, with a tab behind where they have spaces."""
    if re.search(r'[\x00-\x1f\x7f"\\]', name):
        quoted = re.sub(r'["\\]', lambda found: "\\" + found[0], name)
        return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\{ord(found[0]):03o}", quoted) + '"'
    return name + "\t" if " " in name else name
