"""Collections: made, filled with documents, searched. What blocks is done in threads."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kodify.config_file import RetrievalEntry
from kodify.engine.base import EmbeddingEngine
from kodify.errors import BadRequestError, ConflictError, KodifyError, NotFoundError, UnavailableError
from kodify.retrieval import terms
from kodify.retrieval.base import (
    EVERYWHERE,
    NOWHERE,
    About,
    Candidate,
    Held,
    Origin,
    Passage,
    PassingSkipError,
    Point,
    SkippedError,
    Where,
)
from kodify.retrieval.checkouts import repository_name
from kodify.retrieval.digests import counting, digest, kept, rules
from kodify.retrieval.fusion import Best, fuse
from kodify.retrieval.gist import gist
from kodify.retrieval.passages import origin_fields, passage_of, relevance_of, unit
from kodify.retrieval.points import payload_of, point_id
from kodify.retrieval.reader import Reader
from kodify.retrieval.store import Store
from kodify.retrieval.syntax import GRAMMARS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
TEXTS_AT_ONCE = 64
CANDIDATES = 100  # of each kind, before they are fused
MOST_K = 50
MOST_QUERY_CHARACTERS = 8000
CHARACTERS_A_TOKEN = 6  # of a piece, of the embedder's context: what is longer could not be seen whole
LEAST_PIECE, MOST_PIECE = 600, 1800
PROBE = "size"
REPOSITORIES_EVERY_S = 60.0
ABOUT_S = 5.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Put:
    """What became of a document."""

    pieces: int
    skipped: str | None = None


class Library:
    def __init__(self, entry: RetrievalEntry, store: Store, embedder: Callable[[str | None], EmbeddingEngine]) -> None:
        """`embedder` finds the model of a name, or the first one; it raises KodifyErrors."""
        self.entry = entry
        self._store = store
        self._embedder = embedder
        # The local mode is for one thread.
        self._threads = ThreadPoolExecutor(1 if store.is_local else 8, thread_name_prefix="collections")
        self._reader = Reader()
        self._abouts: dict[str, tuple[float, About]] = {}  # each with when it was asked for
        self._writing: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._repositories: dict[str, list[str]] | None = None
        self._listing: asyncio.Task[None] | None = None
        self._listed_at: float | None = None
        self.snippets_from = 0.0  # on the monotonic clock: when completions may search again
        self.running: dict[str, int] = defaultdict(int)  # documents on their way, by collection

    async def close(self) -> None:
        if self._listing is not None:
            self._listing.cancel()
        await asyncio.to_thread(self._reader.close)
        await self._in_thread(self._store.close)
        self._threads.shutdown(wait=False)

    async def names(self) -> list[str]:
        return await self._in_thread(self._store.names) if self._store.may_have_any else []

    def can_search(self, about: About) -> bool:
        """By meaning: the model that it was made for embeds, or will when it has started."""
        try:
            return about.model in self._embedder(self.entry.model).facts.names
        except UnavailableError:
            return True
        except KodifyError:
            return False

    async def about(self, name: str, *, fresh: bool = False) -> About:
        """As it was some seconds ago at most: another replica may have made it anew. Raises NotFoundError."""
        now = time.monotonic()
        asked_at, found = self._abouts.get(name, (0.0, None))
        if fresh or found is None or now - asked_at > ABOUT_S:
            if not NAME.fullmatch(name):
                raise NotFoundError(f"There is no collection {name}.", param="collection")
            found = await self._of(name, lambda: self._store.about(name))
            self._abouts[name] = now, found
        return found

    async def of_repository(self, repository: str) -> Sequence[str]:
        """The collections that were last filled from a checkout of it. Which there are is asked of the store now and
        then, beside who asks: only the first list is waited for."""
        now = time.monotonic()
        if self._listing is None and (self._listed_at is None or now - self._listed_at > REPOSITORIES_EVERY_S):
            self._listed_at = now
            self._listing = asyncio.create_task(self._list_repositories())
        if self._listing is not None and self._repositories is None:
            await asyncio.shield(self._listing)
        return (self._repositories or {}).get(repository, ())

    async def _list_repositories(self) -> None:
        found: dict[str, list[str]] = defaultdict(list)
        try:
            for name in await self.names():
                if (known := (await self.about(name, fresh=True)).repository) is not None:
                    found[known].append(name)
            self._repositories = found
        except KodifyError as error:
            log.warning("completions go without their repositories: %s", error.message)
        finally:
            self._listing = None

    async def make(self, name: str) -> About:
        """For the vectors of the model that embeds. Raises BadRequestError, ConflictError."""
        check_name(name)
        engine = self._embedder(self.entry.model)
        size = (await engine.embed([PROBE])).vectors.shape[1]
        about = About(name, engine.facts.names[0], int(size))
        await self._of(name, lambda: self._store.make(about))
        self._abouts.pop(name, None)
        return about

    async def note(self, name: str, repository: str | None, commit: str | None) -> None:
        """`repository` may be an address."""
        repository = repository_name(repository)
        async with self._locked(name) as about:
            if (about.repository, about.commit) != (repository, commit):
                self._repositories = None
                noted = replace(about, repository=repository, commit=commit)
                await self._of(name, lambda: self._store.note(noted))
                self._abouts[name] = time.monotonic(), noted

    async def drop(self, name: str) -> None:
        async with self._locked(name):
            await self._of(name, lambda: self._store.drop(name))
            self._abouts.pop(name, None)

    async def held(self, name: str) -> dict[str, Held]:
        """Its documents, by path."""
        about = await self.about(name, fresh=True)
        rules, most = self._rules(), self._most(about)
        found = await self._of(name, lambda: self._store.held(name))
        return await asyncio.to_thread(lambda: {path: counting(one, rules, most) for path, one in found.items()})

    async def count(self, name: str) -> int:
        return await self._of(name, lambda: self._store.count(name))

    async def put(self, name: str, path: str, data: bytes, origin: Origin = NOWHERE, source: str | None = None) -> Put:
        """In place of what there was of the document. One that is skipped is remembered with the reason, but for one
        that another run may read.

        Raises ConflictError where the collection was made for another model.
        """
        about = await self.about(name)
        engine = self._embedder_of(about)
        most = _most(engine)
        hashed = kept(self._rules(), most, digest(data))
        told = {} if source is None else {"source": source}
        self.running[name] += 1
        try:
            try:
                document = await self._reader.read(path, data, most)
            except PassingSkipError as skipped:
                return Put(0, str(skipped))
            except SkippedError as skipped:
                return await self._skip(about, path, hashed, "", str(skipped), told)
            pieces = document.pieces
            if not pieces:
                return await self._skip(about, path, hashed, document.language, "it is empty", told)
            headed = [f"{path} {piece.title}\n{piece.text}" for piece in pieces]
            is_code = document.language in GRAMMARS
            read = [gist(path, piece.title, piece.text) for piece in pieces] if is_code else headed
            vectors = await self._embed(engine, [self.entry.passage_prefix + text for text in read])
            weights = await asyncio.to_thread(lambda: [terms.weights(text) for text in headed])
            points = [
                Point(
                    point_id(path, number),
                    payload_of(
                        path, number, len(pieces), hashed, document.language,
                        title=piece.title, start=piece.start, end=piece.end, text=piece.text,
                        **origin_fields(origin), **told,
                    ),
                    vectors[number],
                    weights[number],
                )
                for number, piece in enumerate(pieces)
            ]  # fmt: skip
            await self._write(about, path, points)
            return Put(len(pieces))
        finally:
            self.running[name] -= 1

    async def _skip(
        self, about: About, path: str, hashed: str, language: str, reason: str, told: dict[str, str]
    ) -> Put:
        """Remembered, so that the next run need not read it again."""
        payload = payload_of(path, 0, 1, hashed, language, skipped=reason, **told)
        await self._write(about, path, [Point(point_id(path, 0), payload)])
        return Put(0, reason)

    async def remove(self, name: str, path: str) -> None:
        await self._write(await self.about(name), path, [])

    async def search(
        self,
        names: Sequence[str],
        query: str,
        *,
        k: int | None = None,
        threshold: float | None = None,
        where: Where = EVERYWHERE,
        by: str = "both",
    ) -> list[Passage]:
        """The best of several collections together. `by`: meaning, words, or both.

        Raises NotFoundError where there is no such collection.
        """
        k = min(k or self.entry.k, MOST_K)
        threshold = self.entry.threshold if threshold is None else threshold
        query = query[:MOST_QUERY_CHARACTERS]
        asked = terms.asked(query) if by != "meaning" else {}
        vectors: dict[str, Any] = {}
        found: list[tuple[About, list[Candidate]]] = []
        for name in dict.fromkeys(names):
            about = await self.about(name)
            vector = None
            if by != "words":
                if about.model not in vectors:
                    engine = self._embedder_of(about)
                    vectors[about.model] = (await self._embed(engine, [self.entry.query_prefix + query]))[0]
                vector = vectors[about.model]
            search = partial(self._store.search, name, vector, asked, CANDIDATES, where)
            found.append((about, await self._of(name, search)))
        best = Best.of(one for _, candidates in found for one in candidates)
        least = threshold if by != "words" else 0.0
        passages: list[Passage] = []
        for about, candidates in found:
            passages += await self._of(about.name, partial(self._pick, about, fuse(candidates, best), k, least, by))
        passages.sort(key=lambda passage: (-passage.score, passage.path, passage.start))
        return passages[:k]

    def _pick(
        self, about: About, fused: list[tuple[Candidate, float]], k: int, threshold: float, by: str
    ) -> list[Passage]:
        """Blocks. What is not above the threshold makes room for the next."""
        relevances = {one.id: relevance_of(one.cosine) if by != "words" else 0.0 for one, _ in fused}
        near = [(one, score) for one, score in fused if not threshold or relevances[one.id] > threshold]
        found: list[Passage] = []
        while near and len(found) < k:  # a piece may have gone meanwhile
            some, near = near[:k], near[k:]
            fetched = self._store.fetch(about.name, [one.id for one, _ in some])
            found += [
                passage_of(about, fetched[one.id], relevances[one.id], score, self.entry.links)
                for one, score in some
                if one.id in fetched
            ]
        return found[:k]

    async def _write(self, about: About, path: str, points: list[Point]) -> None:
        """Raises ConflictError where the collection was made anew meanwhile."""
        name = about.name
        async with self._locked(name) as now:
            if (now.model, now.size) != (about.model, about.size):
                raise ConflictError(f"The collection {name} was made anew meanwhile.", param="collection")
            steps = self._store.put(name, path, points)
            while not await self._of(name, lambda: next(steps, True)):
                pass

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[About]:
        """As nobody else here writes to it. Raises NotFoundError."""
        await self.about(name)  # only of what there is locks are kept
        async with self._writing[name]:
            yield await self.about(name, fresh=True)

    async def _of(self, name: str, call: Callable[[], Result]) -> Result:
        """What the store refuses may be another collection by now."""
        try:
            return await self._in_thread(call)
        except KodifyError:
            self._abouts.pop(name, None)
            raise

    def _rules(self) -> str:
        return rules(self.entry.passage_prefix)

    def _most(self, about: About) -> int | None:
        try:
            return _most(self._embedder_of(about))
        except KodifyError:
            return None

    def _embedder_of(self, about: About) -> EmbeddingEngine:
        engine = self._embedder(self.entry.model)
        if about.model not in engine.facts.names:
            raise ConflictError(
                f"The collection {about.name} was made for the model {about.model}, and {engine.facts.names[0]} embeds "
                "now: make it anew.",
                param="collection",
            )
        return engine

    async def _embed(self, engine: EmbeddingEngine, texts: list[str]) -> list[Any]:
        rows: list[Any] = []
        for begin in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[begin : begin + TEXTS_AT_ONCE]
            embedded = await engine.embed(some, cut=True)
            rows += [unit(row) for row in embedded.vectors]
        return rows

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def check_name(name: str) -> None:
    """Raises BadRequestError."""
    if not NAME.fullmatch(name):
        raise BadRequestError("A collection's name has letters, digits, - _ and . alone.", param="name")


def _most(engine: EmbeddingEngine) -> int:
    """Characters of a piece."""
    return min(MOST_PIECE, max(LEAST_PIECE, engine.facts.context_tokens * CHARACTERS_A_TOKEN))
