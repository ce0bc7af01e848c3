"""A collection: what is put is found, what is put again replaces the first, what is half there is not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from qdrant_client import models

from kodify.config_file import RetrievalEntry
from kodify.engine.scripted import WordEmbedder
from kodify.errors import BadRequestError, ConflictError, NotFoundError, UnavailableError
from kodify.retrieval.base import Held, Origin, Where
from kodify.retrieval.library import Library
from kodify.retrieval.store import Store

CODE = b'''
def parse_header(line):
    """Split a header into its value and its parameters."""
    return line.split(";")


class Reader:
    """Reads lines."""

    def read_all(self):
        return list(self)
'''


async def test_what_is_put_is_found_with_its_place(library: Library) -> None:
    await library.make("code")
    put = await library.put("code", "lib/http.py", CODE, Origin("c0ffee"))
    assert put.skipped is None
    assert put.pieces == await library.count("code")
    found = await library.search(["code"], "parse a header into parameters", k=1)
    assert [(one.path, one.title, one.start, one.end, one.language, one.commit) for one in found] == [
        ("lib/http.py", "parse_header", 2, 4, "python", "c0ffee")
    ]
    assert "def parse_header" in found[0].text
    assert 0.5 < found[0].relevance <= 1


@pytest.mark.parametrize(("by", "most"), [("words", 1), ("meaning", 5), ("both", 5)])
async def test_each_side_can_be_asked_alone(library: Library, by: str, most: int) -> None:
    await library.make("code")
    await library.put("code", "a.py", CODE)
    found = await library.search(["code"], "read_all", k=5, by=by)
    assert found[0].title == "Reader.read_all" or by != "words"
    assert 1 <= len(found) <= most


async def test_a_document_takes_the_place_of_its_former_self(library: Library) -> None:
    await library.make("notes")
    await library.put("notes", "a.md", b"# One\n\nfirst\n\n# Two\n\nsecond\n\n# Three\n\nthird")
    await library.put("notes", "a.md", b"# One\n\nonly")
    assert await library.count("notes") == 1
    assert [one.text for one in await library.search(["notes"], "first second third only", k=9)] == ["# One\n\nonly"]
    await library.remove("notes", "a.md")
    assert await library.count("notes") == 0
    assert await library.search(["notes"], "only") == []
    assert await library.held("notes") == {}


async def test_it_is_the_same_after_it_was_closed(tmp_path: Path, embedder: WordEmbedder) -> None:
    for turn in range(2):
        library = Library(RetrievalEntry(), Store(None, None, tmp_path / "q"), lambda model: embedder)
        if turn == 0:
            await library.make("code")
            await library.put("code", "a.py", CODE)
            await library.put("code", "b.bin", b"\0\0")
        held = await library.held("code")
        assert (held["a.py"].pieces, held["b.bin"].pieces, held["b.bin"].skipped) == (2, 0, "no text")
        assert (await library.search(["code"], "parse_header", k=1))[0].title == "parse_header"
        await library.close()


async def test_half_a_document_is_none(library: Library) -> None:
    await library.make("notes")
    await library.put("notes", "a.md", b"# One\n\nfirst\n\n# Two\n\nsecond")
    store = library._store
    ids = list(store._shelf("notes")._ids)
    assert store._client is not None
    store._client.delete("notes", points_selector=models.PointIdsList(points=[ids[0]]))  # as a killed process leaves it
    store._shelves.clear()
    assert await library.held("notes") == {"a.md": Held("", 1)}
    await library.put("notes", "a.md", b"# One\n\nfirst\n\n# Two\n\nsecond")
    assert (await library.held("notes"))["a.md"].pieces == 2
    assert await library.count("notes") == 2


async def test_two_writers_of_one_document_leave_one(library: Library) -> None:
    await library.make("notes")
    texts = [f"# One\n\nversion {number}\n\n# Two\n\nversion {number}".encode() for number in range(6)]
    await asyncio.gather(*(library.put("notes", "a.md", text) for text in texts))
    assert await library.count("notes") == 2
    found = await library.search(["notes"], "version", k=9)
    assert len({one.text.rsplit(" ", 1)[1] for one in found}) == 1


@pytest.mark.parametrize(
    ("where", "paths"),
    [
        (Where(), {"a/x.py", "a/y.md", "ab/z.py"}),
        (Where(path="a"), {"a/x.py", "a/y.md"}),
        (Where(path="a/"), {"a/x.py", "a/y.md"}),
        (Where(path="ab/z.py"), {"ab/z.py"}),
        (Where(language="python"), {"a/x.py", "ab/z.py"}),
        (Where(path="a", language="markdown"), {"a/y.md"}),
        (Where(path="b"), set()),
    ],
)
@pytest.mark.parametrize("by", ["words", "meaning", "both"])
async def test_filters(library: Library, where: Where, paths: set[str], by: str) -> None:
    await library.make("code")
    for path in ("a/x.py", "a/y.md", "ab/z.py"):
        await library.put("code", path, b"a common word")
    found = await library.search(["code"], "common word", k=9, where=where, by=by)
    assert {one.path for one in found} == paths


async def test_what_is_not_above_the_threshold_is_left_out(library: Library) -> None:
    await library.make("notes")
    await library.put("notes", "a.txt", b"apples and pears")
    await library.put("notes", "b.txt", b"something else entirely, though apples too")
    near = await library.search(["notes"], "a.txt apples and pears", k=9, threshold=0.9)
    assert [one.path for one in near] == ["a.txt"]
    assert await library.search(["notes"], "unheard of", threshold=0.99) == []


async def test_several_collections_at_once(library: Library) -> None:
    for name in ("one", "two"):
        await library.make(name)
        await library.put(name, "a.txt", f"the word {name}".encode())
    found = await library.search(["one", "two"], "word", k=9)
    assert {one.collection for one in found} == {"one", "two"}


async def test_refusals(library: Library, tmp_path: Path) -> None:
    for name in ("no/slash", "..", "line\n", "", "ы"):
        with pytest.raises(BadRequestError):
            await library.make(name)
        for wrong in (library.about(name), library.drop(name), library.held(name)):
            with pytest.raises(NotFoundError):
                await wrong
    await library.make("one")
    with pytest.raises(ConflictError):
        await library.make("one")
    for call in (library.search(["none"], "x"), library.put("none", "a", b"a"), library.drop("none")):
        with pytest.raises(NotFoundError):
            await call
    other = Library(RetrievalEntry(), Store(None, None, tmp_path / "qdrant"), lambda model: WordEmbedder())
    with pytest.raises(UnavailableError, match="Another process"):
        await other.names()


async def test_another_model_is_told_apart(tmp_path: Path) -> None:
    store = Store(None, None, tmp_path / "q")
    first = Library(RetrievalEntry(), store, lambda model: WordEmbedder())
    await first.make("one")
    second = Library(RetrievalEntry(), store, lambda model: WordEmbedder(names=("another",)))
    with pytest.raises(ConflictError, match="made for the model scripted-embedder"):
        await second.put("one", "a.txt", b"text")
    await first.close()


async def test_an_index_that_was_renewed_finds_the_same(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kodify.retrieval.shelf.LEAST_DEAD", 3)
    await library.make("notes")
    for turn in range(5):
        for name in ("a", "b", "c"):
            await library.put("notes", f"{name}.txt", f"{name} number {turn}".encode())
    found = await library.search(["notes"], "number", k=9, by="words")
    assert {one.text for one in found} == {"a number 4", "b number 4", "c number 4"}
    assert len(library._store._shelf("notes")._ids) < 15


async def test_what_another_replica_does_is_heard_of(tmp_path: Path) -> None:
    store = Store(None, None, tmp_path / "q")
    here, there = (Library(RetrievalEntry(), store, lambda model: WordEmbedder()) for _ in range(2))
    await here.make("one")
    await here.put("one", "a.txt", b"pears")
    assert len(await there.search(["one"], "pears")) == 1
    await here.drop("one")
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await there.search(["one"], "pears")
    anew = Library(RetrievalEntry(), store, lambda model: WordEmbedder(names=("another",), size=32))
    await anew.make("one")
    with pytest.raises(ConflictError, match="made for the model another"):
        await there.search(["one"], "pears")
    await anew.drop("one")
    await here.make("one")
    await there.about("one", fresh=True)
    await here.drop("one")
    await anew.make("one")
    with pytest.raises(ConflictError, match="made anew meanwhile"):
        await there.put("one", "a.txt", b"pears")  # it took it for its former self
    with pytest.raises(ConflictError, match="made for the model another"):
        await there.put("one", "a.txt", b"pears")
    assert await anew.held("one") == {}
    for library in (there, anew, here):
        await library.close()


async def test_what_is_known_of_a_collection_is_asked_again(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    await library.make("one")
    asked, about = [], library._store.about
    monkeypatch.setattr(library._store, "about", lambda name: asked.append(name) or about(name))  # type: ignore[func-returns-value]
    await library.about("one")
    await library.about("one")
    assert len(asked) == 1
    monkeypatch.setattr("kodify.retrieval.library.ABOUT_S", -1.0)
    await library.about("one")
    assert len(asked) == 2


async def test_searches_and_writers_beside_a_deletion(library: Library) -> None:
    for _ in range(3):
        await library.make("notes")
        await library.put("notes", "a.txt", b"pears")
        calls = [library.search(["notes"], "pears") for _ in range(5)]
        calls += [library.put("notes", f"{number}.txt", b"plums") for number in range(5)]  # type: ignore[misc]
        done = await asyncio.gather(*calls[:5], library.drop("notes"), *calls[5:], return_exceptions=True)
        assert all(isinstance(one, NotFoundError) or not isinstance(one, BaseException) for one in done)
        with pytest.raises(NotFoundError):
            await library.search(["notes"], "pears")
        with pytest.raises(NotFoundError):
            await library.put("notes", "b.txt", b"plums")


async def test_a_large_document_leaves_room_for_searches(library: Library) -> None:
    await library.make("notes")
    await library.put("notes", "a.txt", b"pears")
    for turn in ("first", "second"):  # the second has the first one's pieces to delete
        large = "\n\n".join(
            f"# Part {number}\n\n{turn} plums {number}" for number in range(1500 if turn == "first" else 1)
        )
        putting = asyncio.create_task(library.put("notes", "large.md", large.encode()))
        before = await library.count("notes")
        while await library.count("notes") == before:
            pass
        found = await library.search(["notes"], "pears", k=1, by="words")
        assert [one.path for one in found] == ["a.txt"]
        assert not putting.done()
        await putting
    assert await library.count("notes") == 2


async def test_a_writer_that_was_broken_off_leaves_what_can_be_put_again(library: Library) -> None:
    await library.make("notes")
    large = "\n\n".join(f"# Part {number}\n\nplums {number}" for number in range(500)).encode()
    putting = asyncio.create_task(library.put("notes", "large.md", large))
    while not await library.count("notes"):
        pass
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    held = (await library.held("notes"))["large.md"]
    assert held.digest == ""
    assert 0 < held.pieces == await library.count("notes") < 500
    await library.put("notes", "large.md", large)
    assert (await library.held("notes"))["large.md"].pieces == 500 == await library.count("notes")


@pytest.mark.parametrize(
    ("file", "broken"),
    [("meta.json", "{"), ("meta.json", "[]"), ("collection/notes/storage.sqlite", "no database" * 99)],
)
async def test_what_is_broken_is_told_and_can_be_mended(tmp_path: Path, file: str, broken: str) -> None:
    def opened() -> Library:
        return Library(RetrievalEntry(), Store(None, None, tmp_path / "q"), lambda model: WordEmbedder())

    library = opened()
    await library.make("notes")
    await library.put("notes", "a.txt", b"pears")
    await library.close()
    whole = (tmp_path / "q" / file).read_bytes()
    (tmp_path / "q" / file).write_text(broken)
    library, other = opened(), opened()
    for _ in range(2):
        with pytest.raises(UnavailableError, match="can't be used"):
            await other.search(["notes"], "pears")  # nobody has them open
        with pytest.raises(UnavailableError, match=f"The collections in {tmp_path / 'q'} can't be used"):
            await library.search(["notes"], "pears")
        with pytest.raises(UnavailableError, match="can't be used"):
            await library.names()
    (tmp_path / "q" / file).write_bytes(whole)
    assert len(await library.search(["notes"], "pears")) == 1
    await library.close()


async def test_a_repository_is_noted_by_its_name(library: Library) -> None:
    await library.make("notes")
    await library.note("notes", "https://user:secret@Git.example.ru/team/p.git", "c0ffee")
    assert (await library.about("notes", fresh=True)).repository == "git.example.ru/team/p"
    assert list(await library.of_repository("git.example.ru/team/p")) == ["notes"]
