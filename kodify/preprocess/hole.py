"""A place in a file that waits for code, as every door describes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kodify.preprocess.languages import PLAIN, Language

NAME_CHARACTERS = 512  # of a path or a repository: its end tells most
MOST_SNIPPETS = 64


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of another file."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Hole:
    """Text before and after the cursor, with \\n alone; `crlf` where the file has \\r\\n.

    `context` are pieces of other files, what is likeliest to matter first. `stable` says that the client keeps their
    order from keystroke to keystroke itself, the newest last.
    """

    prefix: str
    suffix: str
    language: Language = PLAIN
    path: str | None = None
    repository: str | None = None
    context: tuple[Snippet, ...] = ()
    stable: bool = False
    crlf: bool = False


def make_hole(
    prefix: str,
    suffix: str,
    language: Language = PLAIN,
    *,
    path: str | None = None,
    repository: str | None = None,
    context: Iterable[tuple[str, str]] = (),
    stable: bool = False,
) -> Hole:
    """Of what a client sends: newlines of one kind, names of bounded length, pieces of other files of bounded number.

    `context` are paths and texts.
    """
    first = prefix.find("\n")
    crlf = (prefix[first - 1 : first] if first >= 0 else suffix[: suffix.find("\n")][-1:]) == "\r"
    pieces = list(context)
    pieces = pieces[-MOST_SNIPPETS:] if stable else pieces[:MOST_SNIPPETS]
    return Hole(
        with_newlines(prefix),
        with_newlines(suffix),
        language,
        short_name(path),
        short_name(repository),
        tuple(Snippet(short_name(name) or "", with_newlines(text)) for name, text in pieces),
        stable,
        crlf,
    )


def with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n") if "\r" in text else text


def short_name(name: str | None) -> str | None:
    """Of one line."""
    return None if name is None else " ".join(name[-NAME_CHARACTERS:].splitlines())
