"""What of a piece of code is embedded: where it stands, its signature and what its docstring says, as words.

To a model that was trained on texts every bracket and point is a token, and every token weighs the same in the vector.
"""

from __future__ import annotations

import re

PLACE_CHARACTERS = 200
SIGNATURE_CHARACTERS = 200
DOCSTRING_CHARACTERS = 320
CODE_CHARACTERS = 400  # where there is no docstring; comments stand before what they are about
LATEST_DOCSTRING = 600  # where it may begin
LEAST_DOCSTRING = 20

_DOCSTRING = re.compile(r"(\"\"\"|''')(.*?)\1", re.S)
_NO_WORD = re.compile(r"[^\w\s]+|_+")
_CAMEL = re.compile(r"(?<=[^\W\dA-ZА-ЯЁ_])(?=[A-ZА-ЯЁ])|(?<=[A-ZА-ЯЁ])(?=[A-ZА-ЯЁ][^\W\dA-ZА-ЯЁ_])")


def gist(path: str, title: str, text: str) -> str:
    folder_and_stem = path.rsplit(".", 1)[0]
    return " ".join((as_words(f"{folder_and_stem} {title}"[-PLACE_CHARACTERS:]), _of_code(text)))


def _of_code(text: str) -> str:
    found = _DOCSTRING.search(text)
    if found is None or found.start() >= LATEST_DOCSTRING or len(found[2]) <= LEAST_DOCSTRING:
        return as_words(text[:CODE_CHARACTERS])
    said = found[2][:DOCSTRING_CHARACTERS]
    rest = text[found.end() : found.end() + DOCSTRING_CHARACTERS - len(said)]
    return " ".join(map(as_words, (text[: min(found.start(), SIGNATURE_CHARACTERS)], said, rest)))


def as_words(text: str) -> str:
    """Without punctuation, `camelCase` and `snake_case` parted."""
    return " ".join(_CAMEL.sub(" ", _NO_WORD.sub(" ", text)).split())
