"""A place in a file that waits for code, as every door describes it."""

from __future__ import annotations

from dataclasses import dataclass

from kodify.preprocess.languages import PLAIN, Language


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of another file."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Hole:
    """Text before and after the cursor, with \\n alone; `crlf` where the file has \\r\\n.

    `context` are pieces of other files, what is likeliest to matter first. `stable` says that the client keeps their
    order from keystroke to keystroke itself.
    """

    prefix: str
    suffix: str
    language: Language = PLAIN
    path: str | None = None
    repository: str | None = None
    context: tuple[Snippet, ...] = ()
    stable: bool = False
    crlf: bool = False


def read_newlines(*texts: str) -> tuple[bool, tuple[str, ...]]:
    """Whether the texts' lines end in \\r\\n, and the texts with \\n alone."""
    if not any("\r\n" in text for text in texts):
        return False, texts
    return True, tuple(text.replace("\r\n", "\n") for text in texts)
