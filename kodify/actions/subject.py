"""What an action is done to: a file or some lines of it, and what its user says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from kodify.errors import BadRequestError
from kodify.preprocess.languages import PLAIN, Language, find_language

MOST_PATH, MOST_LANGUAGE = 1000, 40
BOM = "\ufeff"


@dataclass(frozen=True)
class Subject:
    """`selection`: the first and the last line, from 1. Lines end where git says they do, at a line feed.

    Raises BadRequestError where there is nothing to work on.
    """

    code: str
    language: str | None = None
    path: str | None = None
    selection: tuple[int, int] | None = None
    instructions: str = ""

    def __post_init__(self) -> None:
        if "\0" in self.code:
            raise BadRequestError("code has a NUL: it is no text.", param="code")
        if not self.code.strip(BOM + " \t\r\n") and not self.instructions.strip():
            raise BadRequestError("code is empty, and there are no instructions.", param="code")
        if self.selection is None:
            return
        first, last = self.selection
        if not 1 <= first <= last <= len(self.lines):
            raise BadRequestError(
                f"selection is lines {first} to {last}, and the code has lines 1 to {len(self.lines)}.",
                param="selection",
            )

    @cached_property
    def lines(self) -> list[str]:
        """With their ends; the last may have none."""
        parts = self.code.split("\n")
        return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])

    @property
    def bounds(self) -> tuple[int, int]:
        """Of the target, in `lines`: from the first up to the second."""
        if self.selection is None:
            return 0, len(self.lines)
        return self.selection[0] - 1, self.selection[1]

    @property
    def target(self) -> list[str]:
        """What the action is done to."""
        first, last = self.bounds
        return self.lines[first:last]

    @property
    def known_language(self) -> Language:
        return find_language(self.language, self.path)

    @property
    def label(self) -> str:
        """The language as prompts name it; empty where nobody knows."""
        if self.known_language is not PLAIN:
            return self.known_language.id
        return re.sub(r"[^\w+#.-]", "", self.language or "")[:MOST_LANGUAGE]

    @property
    def shown_path(self) -> str:
        return re.sub(r"[\x00-\x1f\x7f]", "", self.path or "")[:MOST_PATH]

    @property
    def diff_path(self) -> str:
        """For a diff's head: relative and within the folder; the file's name where the path is neither."""
        path = re.sub(r"^(?:\./+)+", "", (self.path or "").replace("\0", ""))
        if re.match(r"^[A-Za-z]:[\\/]|^\\\\", path) or ("\\" in path and "/" not in path):
            path = path.replace("\\", "/")
        parts = path.split("/")
        if path.startswith("/") or re.match(r"^[A-Za-z]:/", path) or not {"", ".", ".."}.isdisjoint(parts):
            path = parts[-1]
        if path in ("", ".", ".."):
            return f"code{next(iter(self.known_language.extensions), '.txt')}"
        return path
