"""A collection's index in memory, beside Qdrant's local mode: which documents are whole, and where words stand.

The local mode walks over every sparse vector in Python, 50 ms for six thousand, and takes as long to compare twenty
thousand dense ones; here a word leads to its pieces, and a matrix is multiplied once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import log
from typing import Any

from kodify.retrieval.base import Candidate, Held, Where

_Rows = tuple["array[int]", "array[float]"]
LEAST_DEAD = 1024  # rows of replaced documents, before the index is made anew


@dataclass(slots=True)
class _Document:
    rows: list[int] = field(default_factory=list)
    digests: dict[str, set[int]] = field(default_factory=dict)  # each with its pieces' numbers
    of: int = 0
    skipped: str | None = None
    source: str | None = None


class Shelf:
    def __init__(self) -> None:
        self._ids: list[str] = []
        self._places: list[tuple[str, str]] = []  # path and language of each row
        self._terms: list[dict[int, float]] = []
        self._alive = bytearray()
        self._real = bytearray()  # and no mark of a document that was skipped
        self._postings: dict[int, _Rows] = {}
        self._documents: dict[str, _Document] = {}
        self._living = 0
        self._matrix: Any = None  # a vector a row, of length 1; None until somebody asks by meaning

    def __len__(self) -> int:
        return self._living

    @property
    def knows_vectors(self) -> bool:
        return self._matrix is not None

    def know_vectors(self, vectors: Mapping[str, Any], size: int) -> None:
        """Of all that it has, by id."""
        import numpy as np  # the engine's

        self._matrix = np.zeros((max(LEAST_DEAD, 2 * len(self._ids)), size), dtype=np.float32)
        for row, id in enumerate(self._ids):
            if (vector := vectors.get(id)) is not None:
                self._matrix[row] = vector

    def add(self, points: Iterable[tuple[str, dict[str, Any], dict[int, float], Any]]) -> None:
        """Ids, payloads, terms, vectors. A known id must be dropped before."""
        for id, payload, terms, vector in points:
            row = len(self._ids)
            document = self._documents.setdefault(payload["path"], _Document())
            document.rows.append(row)
            document.digests.setdefault(payload["digest"], set()).add(payload["number"])
            document.of, document.skipped = payload["of"], payload.get("skipped")
            document.source = payload.get("source", document.source)
            self._ids.append(id)
            self._places.append((payload["path"], payload["language"]))
            self._terms.append(terms)
            self._alive.append(1)
            self._real.append(payload.get("skipped") is None)
            if payload.get("skipped") is None:
                self._living += 1
            if self._matrix is not None and row >= len(self._matrix):
                self._matrix = None  # made anew when it is needed
            if self._matrix is not None:
                self._matrix[row] = 0 if vector is None else vector
            for term, weight in terms.items():
                rows, values = self._postings.setdefault(term, (array("L"), array("f")))
                rows.append(row)
                values.append(weight)

    def drop(self, path: str) -> list[str]:
        """The ids of what it had."""
        document = self._documents.pop(path, None)
        if document is None:
            return []
        for row in document.rows:
            self._alive[row] = 0
        if document.skipped is None:
            self._living -= len(document.rows)
        gone = [self._ids[row] for row in document.rows]
        dead = len(self._ids) - sum(len(one.rows) for one in self._documents.values())
        if dead > max(LEAST_DEAD, len(self._ids) // 2):
            self._renew()
        return gone

    def held(self) -> dict[str, Held]:
        """All documents, without a digest those of which not all pieces are there, of one digest."""
        found = {}
        for path, document in self._documents.items():
            ((digest, numbers), *others) = document.digests.items()
            if not others and len(numbers) == document.of:
                pieces = 0 if document.skipped is not None else document.of
                found[path] = Held(digest, pieces, document.skipped, document.source)
            else:
                found[path] = Held("", sum(self._real[row] for row in document.rows), None, document.source)
        return found

    def candidates(self, vector: Any, asked: dict[int, float], limit: int, where: Where) -> list[Candidate]:
        """The nearest to `vector`, if it is given, and those that have most of `asked`: each with both figures."""
        import numpy as np  # the engine's

        count = len(self._ids)
        if not count or not self._living:
            return []
        counts = np.frombuffer(self._alive, dtype=bool) & np.frombuffer(self._real, dtype=bool)
        if where.path is not None or where.language is not None:
            counts &= np.fromiter((fits(place, where) for place in self._places), dtype=bool, count=count)
        cosines = self._matrix[:count] @ vector if vector is not None else np.zeros(count, dtype=np.float32)
        words = self._weigh(asked) * counts
        rows: set[int] = set()
        for scores, is_asked in ((np.where(counts, cosines, -2), vector is not None), (words, bool(asked))):
            if is_asked:
                least = 0 if scores is words else -1.5
                best = np.argpartition(scores, -min(limit, count))[-min(limit, count) :]
                rows.update(row for row in best.tolist() if scores[row] > least)
        return [Candidate(self._ids[row], float(cosines[row]), float(words[row])) for row in sorted(rows)]

    def _weigh(self, asked: dict[int, float]) -> Any:
        """BM25 of each row."""
        import numpy as np

        scores = np.zeros(len(self._ids), dtype=np.float32)
        for term, weight in asked.items():
            if (found := self._postings.get(term)) is None:
                continue
            rows, values = np.frombuffer(found[0], dtype=np.uint64), np.frombuffer(found[1], dtype=np.float32)
            count = len(rows)
            idf = log((self._living - count + 0.5) / (count + 0.5) + 1) if count < self._living else 0.05
            scores[rows] += idf * weight * values
        return scores

    def _renew(self) -> None:
        kept = [(row, path) for path, document in self._documents.items() for row in document.rows]
        fresh = Shelf()
        fresh._documents = self._documents
        renamed = {}
        for row, _ in sorted(kept):
            renamed[row] = len(fresh._ids)
            fresh._ids.append(self._ids[row])
            fresh._places.append(self._places[row])
            fresh._terms.append(self._terms[row])
            fresh._real.append(self._real[row])
            for term, weight in self._terms[row].items():
                rows, values = fresh._postings.setdefault(term, (array("L"), array("f")))
                rows.append(renamed[row])
                values.append(weight)
        for document in self._documents.values():
            document.rows = [renamed[row] for row in document.rows]
        self._ids, self._places, self._terms = fresh._ids, fresh._places, fresh._terms
        self._matrix = None
        self._real = fresh._real
        self._postings, self._alive = fresh._postings, bytearray(b"\1" * len(fresh._ids))


def fits(place: tuple[str, str], where: Where) -> bool:
    path, language = place
    if where.language is not None and language != where.language:
        return False
    return where.path is None or path == where.path or path.startswith(where.path.rstrip("/") + "/")


def folders(path: str) -> list[str]:
    """Of the path itself and of each folder above it: what a filter by path asks for."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
