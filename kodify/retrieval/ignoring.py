"""The lines of a .gitignore as git reads them, for folders where git does not answer.

One entry is asked about at a time, from the top down: what is below an ignored folder is never asked about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~", "space": "\\s", "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_NEVER = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True)
class _Rule:
    """`steps`: one for each folder and for the name; None is `**`. Without `is_anchored` there is one, for the name."""

    steps: tuple[re.Pattern[str] | None, ...]
    is_anchored: bool
    is_of_folders: bool
    ignores: bool

    def fits(self, parts: list[str], is_folder: bool) -> bool:
        if self.is_of_folders and not is_folder:
            return False
        return _fits(self.steps, parts if self.is_anchored else parts[-1:])


class Ignore:
    def __init__(self, text: str) -> None:
        lines = text.removeprefix("\ufeff").split("\n")
        self._rules = [rule for line in lines if (rule := _rule(line)) is not None]

    def says(self, path: str, is_folder: bool) -> bool | None:
        """Whether the entry is ignored; `path` is from the file's folder on. None: nothing is said of it."""
        parts = path.split("/")
        return next((rule.ignores for rule in reversed(self._rules) if rule.fits(parts, is_folder)), None)


def _fits(steps: tuple[re.Pattern[str] | None, ...], parts: list[str]) -> bool:
    """As far as it goes; what comes after a `**` is tried at each part in turn."""
    step = part = 0
    again: tuple[int, int] | None = None
    while part < len(parts):
        if step < len(steps) and (wanted := steps[step]) is None:
            again = (step, part)
            step += 1
        elif step < len(steps) and wanted is not None and wanted.fullmatch(parts[part]):
            step, part = step + 1, part + 1
        elif again is not None:
            step, part = again[0] + 1, again[1] + 1
            again = (again[0], part)
        else:
            return False
    return all(wanted is None for wanted in steps[step:])


def _rule(line: str) -> _Rule | None:
    text = _trimmed(line.removesuffix("\r"))
    if not text or text.startswith("#"):
        return None
    is_negated = text.startswith("!")
    text = text[is_negated:]
    is_of_folders = text.endswith("/")
    text = text[: len(text) - is_of_folders]
    if not text:
        return None
    is_anchored = "/" in text
    steps = _steps(text.removeprefix("/")) if is_anchored else [text]
    compiled = [None if is_anchored and len(one) > 1 and not one.strip("*") else _glob(one) for one in steps]
    if compiled[-1] is None:
        compiled.append(_glob("*"))  # what is below, not the folder itself
    return _Rule(tuple(compiled), is_anchored, is_of_folders, not is_negated)


def _steps(text: str) -> list[str]:
    """Parted at slashes, but for those between brackets."""
    found, begin, at = [], 0, 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "[" and (known := _set(text, at)) is not None:
            at = known[1]
        elif char == "/":
            found.append(text[begin : at - 1])
            begin = at
        elif char == "\\":
            if text[at : at + 1] == "/":
                found.append(text[begin : at - 1])
                begin = at + 1
            at += 1
    return [*found, text[begin:]]


def _trimmed(line: str) -> str:
    """Without spaces at the end, but for one after a backslash."""
    at, spaces_at = 0, None
    while at < len(line):
        if line[at] == " ":
            spaces_at = at if spaces_at is None else spaces_at
        else:
            spaces_at = None
            at += line[at] == "\\"
        at += 1
    return line if spaces_at is None else line[:spaces_at]


def _glob(text: str) -> re.Pattern[str]:
    """What git can't read fits nothing. A star takes as little as it can, once and for all: no name makes it slow."""
    fixed = [""]
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            fixed.append("")
        elif char == "?":
            fixed[-1] += "."
        elif char == "[":
            if (found := _set(text, at)) is None:
                return _NEVER
            fixed[-1] += found[0]
            at = found[1]
        elif char == "\\" and at == len(text):
            return _NEVER
        else:
            if char == "\\":
                char = text[at]
                at += 1
            fixed[-1] += re.escape(char)
    first, *rest = fixed
    middle = "".join(f"(?>.*?{one})" for one in rest[:-1] if one)
    return re.compile(first + middle + (f".*{rest[-1]}" if rest else ""), re.DOTALL)


def _set(text: str, at: int) -> tuple[str, int] | None:
    """Of `[…]`, from behind the bracket: the expression, and where it ends. None where it does not."""
    negated = text[at : at + 1] in ("!", "^") and at < len(text)
    at += negated
    begin, found = at, ""
    while at < len(text):
        char = text[at]
        if char == "]" and at > begin:
            return f"[{'^' * negated}{found}]", at + 1
        if text.startswith("[:", at) and (end := text.find("]", at + 2)) > at + 2 and text[end - 1] == ":":
            if (named := _CLASSES.get(text[at + 2 : end - 1])) is None:
                return None
            found += named
            at = end + 1
            continue
        if char == "\\":
            at += 1
            if at == len(text):
                return None
            char = text[at]
        at += 1
        found += re.escape(char)
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("", "]"):
            at += 1 + (text[at + 1] == "\\")
            if at == len(text):
                return None
            if char <= text[at]:
                found += f"{re.escape(char)}-{re.escape(text[at])}"
            at += 1
    return None
