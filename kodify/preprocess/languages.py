"""What is known of the languages that editors name: their comments, strings and blocks. The table is languages.json."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

TABLE = Path(__file__).parent / "languages.json"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Language:
    id: str
    aliases: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    filenames: tuple[str, ...] = ()
    line_comment: str | None = None
    block_comment: tuple[str, str] | None = None
    # What a new top-level thing begins with, in column 0; whole words where they end in a letter.
    top_level: tuple[str, ...] = ()
    # Such a word counts only after a line that ends with this.
    terminator: str | None = None
    ignore_case: bool = False
    blocks: Literal["indent", "brackets", "words", "none"] = "brackets"
    block_start: tuple[str, ...] = ()
    block_end: tuple[str, ...] = ()
    # What goes on with a block at the indentation of the line that opened it.
    continuation: tuple[str, ...] = ()
    quotes: str = "\"'"
    long_quotes: tuple[tuple[str, str], ...] = ()

    def comment(self, text: str) -> str:
        """Every line of the text as a comment; the text can't end it."""
        lines = text.splitlines()
        if self.line_comment is not None:
            # A backslash at its end would go on with the comment, and PHP's end of code would end it.
            told = (f"{self.line_comment} {line}".replace("?>", "? >").rstrip("\\ \t") for line in lines)
            return "\n".join(line.rstrip() for line in told)
        if self.block_comment is None:
            raise ValueError(f"{self.id} has no comments.")
        start, end = self.block_comment
        body = "\n".join(lines)
        for mark in (start, end):
            body = body.replace(mark, f"{mark[0]} {mark[1:]}")
        return f"{start} {body} {end}"

    def begins(self, words: tuple[str, ...], text: str, *, is_whole: bool = True) -> bool | None:
        """Whether the text begins with one of the words; None where more of the text decides."""
        if self.ignore_case:
            text, words = text.lower(), tuple(word.lower() for word in words)
        answer: bool | None = False
        for word in words:
            if text.startswith(word):
                following = text[len(word) : len(word) + 1]
                if not is_word(word[-1]) or (following and not is_word(following)) or (not following and is_whole):
                    return True
                if not following:
                    answer = None
            elif not is_whole and word.startswith(text):
                answer = None
        return answer


# Other files' snippets need some mark in front of them: "#" is what most files of no known language comment with.
PLAIN = Language(
    id="plaintext", aliases=("text", "plain", "txt"), extensions=(".txt",), line_comment="#", blocks="none"
)


def is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


@cache
def list_languages() -> tuple[Language, ...]:
    return (*TypeAdapter(tuple[Language, ...]).validate_json(TABLE.read_bytes()), PLAIN)


@cache
def names() -> dict[str, Language]:
    return {name.lower(): language for language in list_languages() for name in (language.id, *language.aliases)}


@cache
def endings() -> dict[str, Language]:
    """By the whole file name and by the extension with its dot, in lower case."""
    return {
        name.lower(): language for language in list_languages() for name in (*language.extensions, *language.filenames)
    }


def find_language(name: str | None, path: str | None = None) -> Language:
    """By the id or alias, else by the path's file name or extension, else PLAIN."""
    found = names().get((name or "").strip().lower())
    if found is not None and (found is not PLAIN or not path):
        return found
    file = PurePosixPath((path or "").replace("\\", "/").lower())
    # "Dockerfile.prod" is a Dockerfile, "nginx.conf" has its own extension.
    for key in (file.name, file.suffix, file.stem):
        if key and key in endings():
            return endings()[key]
    return PLAIN


# Languages that a text is tried as, the likelier first.
_GUESSED = (
    "python", "typescript", "javascript", "go", "rust", "java", "cpp", "c", "csharp", "php", "kotlin", "ruby", "lua",
    "shellscript", "sql", "html", "css",
)  # fmt: skip
_FIRST_WORD = re.compile(r"^[ \t]*([#@]?\w+)", re.MULTILINE)
_BLOCK_SIGNS = {
    "indent": re.compile(r":[ \t]*$", re.MULTILINE),
    "brackets": re.compile(r"[{};][ \t]*$", re.MULTILINE),
    "words": re.compile(r"^[ \t]*end\b", re.MULTILINE),
}
GUESSED_FROM = (3000, 1000)  # characters before and after
LEAST_SIGNS = 3


@cache
def _first_words(name: str) -> frozenset[str]:
    """What lines begin with in this language and hardly in prose."""
    found = (_FIRST_WORD.match(word) for word in find_language(name).top_level)
    return frozenset(match[1] for match in found if match)


def guess_language(prefix: str, suffix: str) -> Language:
    """Of a text that nobody says a word about; PLAIN where little speaks for any."""
    sample = prefix[-GUESSED_FROM[0] :] + suffix[: GUESSED_FROM[1]]
    words = Counter(_FIRST_WORD.findall(sample))
    blocks = {kind: len(signs.findall(sample)) for kind, signs in _BLOCK_SIGNS.items()}
    most, best = 0, PLAIN
    for name in _GUESSED:
        language = find_language(name)
        signs = blocks.get(language.blocks, 0) + 2 * sum(words[word] for word in _first_words(name) & words.keys())
        if signs > most:
            most, best = signs, language
    return best if most >= LEAST_SIGNS else PLAIN
