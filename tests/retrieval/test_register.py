"""Whether anything is new is told without opening the collections; what was not closed well is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kodify.config_file import RetrievalEntry
from kodify.engine.scripted import WordEmbedder
from kodify.errors import NotFoundError, UnavailableError
from kodify.retrieval.base import Held
from kodify.retrieval.library import Library
from kodify.retrieval.store import Store

Open = Callable[[], Library]


@pytest.fixture
async def folder(tmp_path: Path, opened: Open) -> Path:
    """With a collection of two documents, closed."""
    library = opened()
    await library.make("notes")
    await library.put("notes", "a.md", b"pears")
    await library.put("notes", "b.bin", b"\0")
    await library.note("notes", "host/p", "c0ffee")
    await library.close()
    return tmp_path / "qdrant"


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    return lambda: Library(RetrievalEntry(), Store(None, None, tmp_path / "qdrant"), lambda model: WordEmbedder())


async def told(library: Library) -> tuple[Any, ...]:
    held: dict[str, Held] = await library.held("notes")
    return await library.names(), await library.about("notes"), held, await library.count("notes")


@pytest.mark.usefixtures("folder")
async def test_what_is_there_is_told_unopened_and_is_the_same(opened: Open) -> None:
    library = opened()
    unopened = await told(library)
    await library.note("notes", "host/p", "c0ffee")
    with pytest.raises(NotFoundError):
        await library.about("../notes")
    library = await anew(library, opened)
    unopened = await told(library)
    assert library._store._client is None
    await library.search(["notes"], "pears", by="words")
    assert library._store._client is not None
    assert await told(library) == unopened
    assert unopened[2]["b.bin"].skipped == "no text"
    await library.close()


async def anew(library: Library, opened: Open) -> Library:
    await library.close()
    return opened()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("what", ["put", "remove", "note", "drop"])
async def test_a_change_is_told_after_it(opened: Open, what: str) -> None:
    library = opened()
    await library.held("notes")
    match what:
        case "put":
            await library.put("notes", "c.md", b"plums")
        case "remove":
            await library.remove("notes", "a.md")
        case "note":
            await library.note("notes", "host/p", "decaf")
        case _:
            await library.drop("notes")
    library = await anew(library, opened)
    try:
        if what == "drop":
            assert await library.names() == []
            with pytest.raises(NotFoundError):
                await library.held("notes")
            return
        _, about, held, _ = await told(library)
        assert library._store._client is None
        assert about.commit == ("decaf" if what == "note" else "c0ffee")
        assert held.keys() == {"put": {"a.md", "b.bin", "c.md"}, "remove": {"b.bin"}}.get(what, {"a.md", "b.bin"})
    finally:
        await library.close()


@pytest.mark.parametrize("how", ["killed", "no register", "broken", "another's writing"])
async def test_what_was_not_closed_well_is_opened(folder: Path, opened: Open, how: str) -> None:
    library = opened()
    register = folder / "collection" / "notes" / "kodify.json"
    match how:
        case "killed":
            await library.put("notes", "c.md", b"plums")
            assert not register.exists()
            library._store._register.write = lambda name, known: None  # type: ignore[method-assign]
        case "no register":
            register.unlink()
        case "broken":
            register.write_text(register.read_text()[:50])
        case _:
            storage = register.with_name("storage.sqlite")
            storage.touch()
    library = await anew(library, opened)
    held = await library.held("notes")
    assert library._store._client is not None
    assert held.keys() == ({"a.md", "b.bin", "c.md"} if how == "killed" else {"a.md", "b.bin"})
    await library.close()


@pytest.mark.usefixtures("folder")
async def test_another_process_is_seen_without_opening(opened: Open) -> None:
    library, other = opened(), opened()
    await library.held("notes")
    with pytest.raises(UnavailableError, match="Another process"):
        await other.held("notes")
    await library.close()
    assert (await other.held("notes")).keys() == {"a.md", "b.bin"}
    await other.close()
