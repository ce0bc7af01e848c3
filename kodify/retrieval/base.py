"""What the room's parts hand to one another: pieces of documents, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class SkippedError(Exception):
    """This document is left out; the text says why, for people. The others go on."""


class PassingSkipError(SkippedError):
    """Not for what is in the document: another time it may be read."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document that is found as a whole. Lines count from 1; of a PDF they are its pages."""

    text: str
    start: int
    end: int
    title: str = ""  # a function's qualified name, or the headings above


@dataclass(frozen=True, slots=True)
class Point:
    """A piece as it is stored. `terms`: its words, hashed, with their BM25 weights before the IDF."""

    id: str
    payload: dict[str, Any]
    vector: Any = None  # float32; None: a mark of a document that has nothing to find
    terms: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """What a collection has of a document. `digest`: of its bytes; empty where it has to be put again, for some of it
    is missing, or it was cut by other rules. `source`: the run that put it; None of one that was put by itself."""

    digest: str
    pieces: int
    skipped: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What a collection was made for."""

    name: str
    model: str
    size: int
    repository: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The version of a document that was put. `path`: of it in `repository`, which is `host/team/project`; without a
    path both are as the collection has them."""

    commit: str | None = None
    repository: str | None = None
    path: str | None = None


NOWHERE = Origin()


@dataclass(frozen=True, slots=True)
class Where:
    """Which passages count: those of a file or of a folder, of a language."""

    path: str | None = None
    language: str | None = None


EVERYWHERE = Where()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A piece that is near to a question or has its words, with both figures (BM25); 0 for what is not asked."""

    id: str
    cosine: float
    words: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece that was found. `relevance`: (1 + cosine) / 2, in 0 to 1; `score`: of meaning and words, 1 at most."""

    collection: str
    path: str
    start: int
    end: int
    title: str
    language: str
    text: str
    relevance: float
    score: float
    commit: str | None = None
    url: str | None = None  # of the lines in their repository, where it is known

    def source(self) -> dict[str, Any]:
        """As answers tell of it: all but the text."""
        return {
            "collection": self.collection,
            "path": self.path,
            "start_line": self.start,
            "end_line": self.end,
            "title": self.title,
            "language": self.language,
            "commit": self.commit,
            "url": self.url,
            "relevance": round(self.relevance, 4),
            "score": round(self.score, 6),
        }
