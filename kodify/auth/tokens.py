"""Access tokens: `kdf_`, 43 characters of randomness, 6 of a checksum. Only their SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets
import string
from zlib import crc32

PREFIX = "kdf_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_BYTES = 32
RANDOM_CHARACTERS = 43  # 32 bytes in base 62
CHECKSUM_CHARACTERS = 6  # 32 bits in base 62
LENGTH = len(PREFIX) + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS
VISIBLE_CHARACTERS = 12


def make() -> str:
    body = PREFIX + _base62(int.from_bytes(secrets.token_bytes(RANDOM_BYTES)), RANDOM_CHARACTERS)
    return body + _checksum(body)


def is_well_formed(token: str) -> bool:
    """Whether it can be one of ours: a typing error, or a secret of another kind, costs no query."""
    if len(token) != LENGTH or not token.startswith(PREFIX) or not token.isascii():
        return False
    body, checksum = token[:-CHECKSUM_CHARACTERS], token[-CHECKSUM_CHARACTERS:]
    return secrets.compare_digest(_checksum(body), checksum)


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def visible(token: str) -> str:
    """The start, by which people tell it from others."""
    return token[:VISIBLE_CHARACTERS]


def masked(visible_part: str) -> str:
    return f"{visible_part}…"


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode()), CHECKSUM_CHARACTERS)


def _base62(number: int, width: int) -> str:
    characters = []
    for _ in range(width):
        number, index = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[index])
    return "".join(reversed(characters))
