"""Digests of documents: by them a run knows what has changed.

A client knows a document's bytes alone. What is kept says by which rules they were cut too, so that other rules make
all of them count as changed.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from kodify.retrieval.base import Held

CUT_VERSION = "3"  # of the code that reads, cuts and weighs: another one, and all is indexed anew


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def rules(*parts: object) -> str:
    """What is done to a document before its pieces are embedded, in short."""
    return sha256("\0".join(map(str, (CUT_VERSION, *parts))).encode()).hexdigest()[:12]


def kept(own: str, most: int, known: str) -> str:
    """As it is stored. `most`: characters of a piece."""
    return f"{own}:{most}:{known}"


def counting(held: Held, own: str, most: int | None) -> Held:
    """With the client's digest. `most` is None where the model is not loaded: then its context is taken as it was."""
    cut_by, _, rest = held.digest.partition(":")
    size, _, known = rest.partition(":")
    is_same = cut_by == own and (most is None or size == str(most))
    return replace(held, digest=known if is_same else "")
