"""The model's block in the target's place: its indentation, its line ends, its edges."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from kodify.actions.subject import BOM

_INDENT = re.compile(r"[ \t]*")


def mend(target: Sequence[str], answer: Sequence[str]) -> list[str]:
    """New lines with their ends. `target`: the old ones with theirs; `answer`: without."""
    lines = _reindented([line.rstrip("\r\n") for line in target], list(answer))
    lines = _edged(target, lines)
    if target and target[0].startswith(BOM) and lines and not lines[0].startswith(BOM):
        lines[0] = BOM + lines[0]
    end = _end_of(target)
    ended = [line + end for line in lines]
    if ended and target and not target[-1].endswith("\n"):
        ended[-1] = lines[-1]
    return ended


def key(line: str) -> str:
    """Equal for lines that are the same but for their ends; blank lines are all the same."""
    bare = line.rstrip("\r\n")
    return bare if bare.strip() else ""


def _end_of(lines: Sequence[str]) -> str:
    windows = sum(line.endswith("\r\n") for line in lines)
    return "\r\n" if windows * 2 > sum(line.endswith("\n") for line in lines) else "\n"


def _edged(target: Sequence[str], lines: list[str]) -> list[str]:
    """Blank lines at the start and the end are as they were: models drop them."""
    body = _stripped(lines)
    old = [line.rstrip("\r\n") for line in target]
    if not body or not _stripped(old):
        return body
    first = next(position for position, line in enumerate(old) if line.strip(BOM + " \t"))
    last = next(position for position, line in enumerate(reversed(old)) if line.strip(BOM + " \t"))
    return [*(line.removeprefix(BOM) for line in old[:first]), *body, *old[len(old) - last :]]


def _stripped(lines: list[str]) -> list[str]:
    filled = [position for position, line in enumerate(lines) if line.strip(BOM + " \t")]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _reindented(target: list[str], answer: list[str]) -> list[str]:
    """Lines that both have tell how the answer's indentation differs, where it does so all through."""
    if pairs := _pairs(target, answer):
        width = _tab_width(pairs)
        if width:
            answer = [_with_tabs(line, width) for line in answer]
            pairs = _pairs(target, answer)
    shift = _shift(pairs) if pairs else _first_shift(target, answer)
    if not shift:
        return answer
    kept = {line for line in target if line.strip()}
    return [line if not line.strip() or _is_right(line, kept, shift) else shift + line for line in answer]


def _is_right(line: str, kept: set[str], shift: str) -> bool:
    """It stands where it stood, such as a line of a long string."""
    return line in kept and shift + line not in kept


def _pairs(target: list[str], answer: list[str]) -> list[tuple[str, str]]:
    """Old and new indentation of the lines that each have once."""
    old = {line.strip(): line for line in _once(target)}
    return [(_indent(old[line.strip()]), _indent(line)) for line in _once(answer) if line.strip() in old]


def _once(lines: list[str]) -> list[str]:
    counted = Counter(line.strip() for line in lines)
    return [line for line in lines if line.strip() and counted[line.strip()] == 1]


def _indent(line: str) -> str:
    found = _INDENT.match(line)
    return found[0] if found is not None else ""


def _shift(pairs: list[tuple[str, str]]) -> str:
    """What most lines lack at their start, or the first and another: a long string's lines may lack nothing."""
    lacks = [old[: len(old) - len(new)] if old.endswith(new) else None for old, new in pairs]
    votes = Counter(lack for lack in lacks if lack is not None)
    if not votes:
        return ""
    if (first := lacks[0]) and votes[first] > 1:
        return first
    shift, most = votes.most_common(1)[0]
    return shift if most * 2 > len(pairs) else ""


def _first_shift(target: list[str], answer: list[str]) -> str:
    """Where no line is the same: what the first one lacks, if none stands further out."""
    old = next((_indent(line) for line in target if line.strip()), "")
    new = next((_indent(line) for line in answer if line.strip()), "")
    if not old.endswith(new) or any(line.strip() and not line.startswith(new) for line in answer):
        return ""
    return old[: len(old) - len(new)]


def _tab_width(pairs: list[tuple[str, str]]) -> int:
    """How many spaces the answer has for a tab of the target; 0 where it has none."""
    widths = {len(new) / len(old) for old, new in pairs if old and new and set(old) == {"\t"} and set(new) == {" "}}
    width = widths.pop() if len(widths) == 1 else 0
    return int(width) if width in (1, 2, 3, 4, 8) else 0


def _with_tabs(line: str, width: int) -> str:
    spaces = len(line) - len(line.lstrip(" "))
    return "\t" * (spaces // width) + line[spaces - spaces % width :]
