"""What the pages say, in each language: one flat JSON file a language, the same keys in all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

LANGUAGES = ("en", "ru")  # the first is for readers of any other
MOST_ASKED = 20  # languages of a browser that are looked at

Texts = Mapping[str, str]


def read(folder: Path) -> dict[str, Texts]:
    return {code: json.loads((folder / f"{code}.json").read_text(encoding="utf-8")) for code in LANGUAGES}


def part(texts: Texts, prefixes: tuple[str, ...]) -> dict[str, str]:
    """The texts of some pages: keys begin with the page's name and a dot."""
    return {key: text for key, text in texts.items() if key.partition(".")[0] in prefixes}


def choose_language(chosen: str | None, accepted: str) -> str:
    """Of a reader's own choice, else of what the browser accepts (`Accept-Language`)."""
    if chosen in LANGUAGES:
        return chosen
    best, best_weight = LANGUAGES[0], 0.0
    for asked in accepted.split(",")[:MOST_ASKED]:
        name, _, options = asked.strip().partition(";")
        code = name.strip().lower().partition("-")[0]
        weight = _weight(options)
        if code in LANGUAGES and weight > best_weight:
            best, best_weight = code, weight
    return best


def _weight(options: str) -> float:
    name, _, value = options.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
