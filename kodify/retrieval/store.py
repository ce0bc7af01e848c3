"""Qdrant: a server by its address, or the library's local mode in a folder, which one process at a time may have open.

Everything here blocks. Points' ids follow from the document's path and the piece's number, so a second writing of the
same document takes the place of the first; a document counts only when all of its pieces are there, of one digest.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from kodify.errors import ConflictError, NotFoundError, UnavailableError
from kodify.retrieval.base import About, Candidate, Held, Point, Where
from kodify.retrieval.connection import locked, of_folder, of_server, open_folder, open_server
from kodify.retrieval.points import DENSE, TERMS, about_of, among, condition_of, metadata_of, point_of, queries_of
from kodify.retrieval.register import Known, Register
from kodify.retrieval.shelf import Shelf

if TYPE_CHECKING:  # a second to import
    from qdrant_client import QdrantClient

POINTS_AT_ONCE = 64
PAGE = 4096
_INDEXED = ("path", "folders", "language")
Value = TypeVar("Value")
_TOLD = ["path", "digest", "of", "number", "skipped", "language", "source"]


class Store:
    def __init__(self, url: str | None, api_key: str | None, folder: Path) -> None:
        self.url = url
        self._api_key = api_key
        self._folder = folder
        self._client: QdrantClient | None = None
        self._held: IO[str] | None = None  # the folder's lock
        self._shelves: dict[str, Shelf] = {}
        self._register = Register(folder)

    @property
    def is_local(self) -> bool:
        return self.url is None

    @property
    def may_have_any(self) -> bool:
        """Whether it is worth opening to look."""
        return self.url is not None or self._client is not None or (self._folder / "meta.json").exists()

    def close(self) -> None:
        fresh = list(self._unregistered()) if self.is_local and self._client is not None else []
        client, self._client = self._client, None
        self._shelves.clear()
        if client is not None:
            client.close()
        for known in fresh:
            self._register.write(known.about.name, known)
        self._unlock()

    def names(self) -> list[str]:
        if self._is_unopened():
            known = [self._register.read(name) for name in self._register.names()]
            if known and all(known):
                return sorted(one.about.name for one in known if one is not None)
        with self._talking() as client:
            return sorted(one.name for one in client.get_collections().collections if self._find(one.name) is not None)

    def about(self, name: str) -> About:
        """Raises NotFoundError where there is no such collection of Kodify's."""
        found = self._find(name)
        if found is None:
            raise NotFoundError(f"There is no collection {name}.", param="collection")
        return found

    def make(self, about: About) -> None:
        """Raises ConflictError where the name is taken."""
        from qdrant_client import models

        with self._talking() as client:
            if client.collection_exists(about.name):
                raise ConflictError(f"The collection {about.name} exists already.", param="name")
            client.create_collection(
                about.name,
                vectors_config={DENSE: models.VectorParams(size=about.size, distance=models.Distance.COSINE)},
                sparse_vectors_config={TERMS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                metadata=metadata_of(about),
            )
            if self.is_local:
                self._quicken(about.name)
            else:
                for field in _INDEXED:
                    client.create_payload_index(about.name, field, models.PayloadSchemaType.KEYWORD)

    def note(self, about: About) -> None:
        """The repository and its commit, as they are now."""
        self._forget(about.name)
        with self._talking(about.name) as client:
            client.update_collection(about.name, metadata=metadata_of(about))

    def drop(self, name: str) -> None:
        self.about(name)
        with self._talking(name) as client:
            client.delete_collection(name)
            self._shelves.pop(name, None)

    def held(self, name: str) -> dict[str, Held]:
        """The documents, by path."""
        if (known := self._known(name)) is not None:
            return dict(known.held)
        if self.is_local:
            return self._shelf(name).held()
        shelf = Shelf()
        for _, payload, _ in self._points(name, _TOLD, vectors=False):
            shelf.add([("", payload, {}, None)])
        return shelf.held()

    def count(self, name: str) -> int:
        if (known := self._known(name)) is not None:
            return known.pieces
        if self.is_local:
            return len(self._shelf(name))
        from qdrant_client import models

        with self._talking(name) as client:
            unmarked = models.IsEmptyCondition(is_empty=models.PayloadField(key="skipped"))
            return client.count(name, count_filter=models.Filter(must=[unmarked])).count

    def put(self, name: str, path: str, points: Sequence[Point]) -> Iterator[None]:
        """In place of what there was of the document, which goes where there are none. Step by step, so that the one
        thread of the local mode can search between them."""
        from qdrant_client import models

        is_whole = False
        try:
            self._forget(name)
            with self._talking(name) as client:
                gone = set(self._shelf(name).drop(path)) - {point.id for point in points} if self.is_local else set()
                for some in batched(sorted(gone)):
                    client.delete(name, points_selector=models.PointIdsList(points=some))
                    yield
                for part in batched(points):
                    client.upsert(name, [point_of(point) for point in part], wait=True)
                    if self.is_local:
                        self._shelf(name).add((point.id, point.payload, point.terms, point.vector) for point in part)
                    yield
                if not self.is_local:
                    rest = models.FieldCondition(key="number", range=models.Range(gte=len(points)))
                    same = models.FieldCondition(key="path", match=models.MatchValue(value=path))
                    client.delete(name, points_selector=models.FilterSelector(filter=models.Filter(must=[same, rest])))
            is_whole = True
        finally:
            if not is_whole:  # it no longer tells what there is
                self._shelves.pop(name, None)

    def search(self, name: str, vector: Any, terms: dict[int, float], limit: int, where: Where) -> list[Candidate]:
        """The nearest and those with most of the words, `limit` of each. Without `vector`, or without `terms`, none of
        that kind."""
        if self.is_local:
            shelf = self._shelf(name)
            if vector is not None and not shelf.knows_vectors:
                shelf.know_vectors(self._vectors(name), len(vector))
            return shelf.candidates(vector, terms, limit, where)
        asked = {using: query for using, query in queries_of(vector, terms).items() if query is not None}
        condition = condition_of(where)
        found = self._scored(name, {using: (query, condition, limit) for using, query in asked.items()})
        every = list(dict.fromkeys(id for scores in found.values() for id in scores))
        missing = {using: [id for id in every if id not in scores] for using, scores in found.items()}
        more = self._scored(name, {u: (asked[u], among(ids), len(ids)) for u, ids in missing.items() if ids})
        scores = {using: {**found.get(using, {}), **more.get(using, {})} for using in (DENSE, TERMS)}
        return [Candidate(id, scores[DENSE].get(id, 0.0), scores[TERMS].get(id, 0.0)) for id in every]

    def _scored(self, name: str, asked: dict[str, tuple[Any, Any, int]]) -> dict[str, dict[str, float]]:
        """Of a server: the scores of each kind, by id. `asked`: queries, conditions and limits."""
        from qdrant_client import models

        requests = [
            models.QueryRequest(query=query, using=using, limit=limit, filter=condition)
            for using, (query, condition, limit) in asked.items()
        ]
        with self._talking(name) as client:
            answers = client.query_batch_points(name, requests) if requests else []
            found = ({str(point.id): point.score for point in answer.points} for answer in answers)
            return dict(zip(asked, found, strict=True))

    def fetch(self, name: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Payloads."""
        with self._talking(name) as client:
            found = client.retrieve(name, list(ids), with_payload=True, with_vectors=False)
        return {str(record.id): record.payload or {} for record in found}

    def _is_unopened(self) -> bool:
        """Then the register may be asked: nobody else has the collections open either. Raises UnavailableError."""
        if not self.is_local or self._client is not None:
            return False
        self._lock()
        return True

    def _known(self, name: str) -> Known | None:
        return self._register.read(name) if self._is_unopened() else None

    def _forget(self, name: str) -> None:
        """Before it is written to."""
        if self.is_local:
            self._shelf(name)
            self._register.forget(name)

    def _unregistered(self) -> Iterator[Known]:
        for name, shelf in self._shelves.items():
            if self._register.read(name) is None and (about := self._find(name)) is not None:
                yield Known(about, len(shelf), shelf.held())

    def _find(self, name: str) -> About | None:
        if (known := self._known(name)) is not None:
            return known.about
        try:
            with self._talking(name) as client:
                metadata = client.get_collection(name).config.metadata or {}
        except NotFoundError:
            return None
        return about_of(name, metadata)

    def _shelf(self, name: str) -> Shelf:
        if name not in self._shelves:
            shelf = Shelf()
            shelf.add((*point, None) for point in self._points(name, _TOLD, vectors=True))
            self._shelves[name] = shelf
        return self._shelves[name]

    def _vectors(self, name: str) -> dict[str, Any]:
        import numpy as np

        found: dict[str, Any] = {}
        offset: Any = None
        with self._talking(name) as client:
            while True:
                page, offset = client.scroll(name, limit=PAGE, offset=offset, with_payload=False, with_vectors=[DENSE])
                for record in page:
                    if isinstance(record.vector, dict) and DENSE in record.vector:
                        found[str(record.id)] = np.asarray(record.vector[DENSE], dtype=np.float32)
                if offset is None:
                    return found

    def _points(
        self, name: str, fields: list[str], *, vectors: bool
    ) -> Iterator[tuple[str, dict[str, Any], dict[int, float]]]:
        offset: Any = None
        with self._talking(name) as client:
            while True:
                page, offset = client.scroll(
                    name, limit=PAGE, offset=offset, with_payload=fields, with_vectors=[TERMS] if vectors else False
                )
                for record in page:
                    sparse = record.vector.get(TERMS) if isinstance(record.vector, dict) else None
                    terms = dict(zip(sparse.indices, sparse.values, strict=True)) if sparse is not None else {}  # type: ignore[union-attr]
                    yield str(record.id), record.payload or {}, terms
                if offset is None:
                    return

    @contextlib.contextmanager
    def _talking(self, name: str | None = None) -> Iterator[QdrantClient]:
        """Of the collection `name`. Raises KodifyErrors: NotFoundError where it is not there."""
        with of_folder(self._folder) if self.is_local else of_server(name):
            client = self._opened()
            if self.is_local and name is not None and not client.collection_exists(name):
                raise NotFoundError(f"There is no collection {name}.", param="collection")
            yield client

    def _opened(self) -> QdrantClient:
        if self._client is None and self.url is not None:
            self._client = open_server(self.url, self._api_key)
        elif self._client is None:
            self._lock()
            try:
                self._client = open_folder(self._folder)
            except UnavailableError:
                self._unlock()
                raise
        return self._client

    def _quicken(self, name: str) -> None:
        """The local mode commits each point by itself: with a write-ahead log, which stays set, that is one write to
        the disk instead of several."""
        file = self._folder / "collection" / name / "storage.sqlite"
        if file.exists():
            with contextlib.closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")

    def _lock(self) -> None:
        if self._held is None:
            self._held = locked(self._folder)

    def _unlock(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def batched(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    for begin in range(0, len(values), POINTS_AT_ONCE):
        yield values[begin : begin + POINTS_AT_ONCE]
