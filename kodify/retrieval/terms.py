"""The lexical side: a text into words as people and code write them, hashed, with BM25's weights."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from zlib import crc32

K1, B = 1.2, 0.5  # pieces are cut to a size: length says less of them than of documents
USUAL_WORDS = 64  # in a piece of code; BM25 asks for the average, which would change with each document
MOST_CHARACTERS = 100  # of a word: beyond it is data, not language

_WORD = re.compile(r"\w+")
_PARTS = re.compile(r"[^\W\d_]?[^\W\d_A-ZА-ЯЁ]+|[A-ZА-ЯЁ]+(?![^\W\d_A-ZА-ЯЁ])|\d+|[^\W_]+")
_STOP = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "has", "have", "how"),
        *("i", "if", "in", "into", "is", "it", "its", "my", "of", "on", "or", "that", "the", "there", "this", "to"),
        *("was", "what", "when", "where", "which", "who", "why", "will", "with", "you", "your"),
        *("а", "без", "в", "во", "вы", "для", "до", "если", "есть", "за", "и", "из", "или", "к", "как", "ко", "ли"),
        *("мне", "мой", "мы", "на", "не", "о", "об", "он", "она", "они", "от", "по", "при", "с", "со", "так", "то"),
        *("у", "что", "чтобы", "это", "я"),
    )
)
_ENDINGS = ("ations", "ation", "ings", "ing", "ers", "ies", "ied", "ed", "es", "er", "s", "e", "y")


def words(text: str) -> list[str]:
    """Lower-cased: each word, and of a camelCase or snake_case one its parts too. Common words are left out, endings
    are cut so that `parsing` finds `parse`."""
    found: list[str] = []
    for match in _WORD.finditer(text):
        word = match.group()
        if len(word) > MOST_CHARACTERS:
            continue
        found += _of_word(word)
    return found


@lru_cache(maxsize=65_536)
def _of_word(word: str) -> tuple[str, ...]:
    parts = [part.lower() for part in _PARTS.findall(word)]
    whole = word.lower().strip("_")
    kept = [_stem(part) for part in parts if part not in _STOP and (len(part) > 1 or part.isdigit() or len(parts) == 1)]
    if len(parts) > 1 and whole:
        kept.append(whole)
    return tuple(kept)


def _stem(word: str) -> str:
    if not word.isascii():
        return word[:-2] if len(word) > 6 else word  # of Russian words the ending says least
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def hashed(word: str) -> int:
    """32 bits, as sparse vectors have their places."""
    return crc32(word.encode("utf-8", "replace"))


def weights(text: str) -> dict[int, float]:
    """Of a piece. With the IDF of its collection they make BM25."""
    counted = Counter(words(text))
    length = sum(counted.values())
    norm = K1 * (1 - B + B * length / USUAL_WORDS)
    found: dict[int, float] = {}
    for word, count in counted.items():
        place = hashed(word)
        found[place] = found.get(place, 0.0) + count * (K1 + 1) / (count + norm)
    return found


def asked(text: str, most: int = 64) -> dict[int, float]:
    """Of a question: each word once."""
    return {hashed(word): 1.0 for word in list(dict.fromkeys(words(text)))[:most]}
