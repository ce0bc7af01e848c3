"""What is asked of a Qdrant server, put to the library's own stand-in for one: no server is started here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from kodify.config_file import RetrievalEntry
from kodify.engine.scripted import WordEmbedder
from kodify.errors import UnavailableError
from kodify.retrieval.base import Where
from kodify.retrieval.library import Library
from kodify.retrieval.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    store = Store("http://127.0.0.1:1", None, tmp_path / "none")
    store._client = QdrantClient(":memory:")
    found = Library(RetrievalEntry(), store, lambda model: WordEmbedder())
    yield found
    await found.close()


@pytest.mark.parametrize("by", ["words", "meaning", "both"])
async def test_a_server_is_filled_and_searched(library: Library, by: str) -> None:
    await library.make("notes")
    await library.put("notes", "docs/a.md", b"# One\n\npears\n\n# Two\n\napples\n\n# Three\n\nplums")
    await library.put("notes", "docs/a.md", b"# One\n\npears")
    await library.put("notes", "b.txt", b"iron and pears")
    await library.put("notes", "c.bin", b"\0")
    held = await library.held("notes")
    assert {path: (one.pieces, one.skipped) for path, one in held.items()} == {
        "docs/a.md": (1, None),
        "b.txt": (1, None),
        "c.bin": (0, "no text"),
    }
    assert await library.count("notes") == 2
    found = await library.search(["notes"], "pears", k=9, by=by)
    assert {one.path for one in found} == {"docs/a.md", "b.txt"}
    inside = await library.search(["notes"], "pears", k=9, by=by, where=Where("docs", "markdown"))
    assert [one.path for one in inside] == ["docs/a.md"]
    await library.remove("notes", "docs/a.md")
    assert "docs/a.md" not in await library.held("notes")
    await library.note("notes", "host/p", "c0ffee")
    assert await library.of_repository("host/p") == ["notes"]
    await library.drop("notes")
    assert await library.names() == []


async def test_others_collections_are_left_alone(library: Library) -> None:
    client = library._store._client
    assert client is not None
    client.create_collection("theirs", vectors_config={})
    assert await library.names() == []


async def test_a_server_that_is_away(tmp_path: Path) -> None:
    library = Library(
        RetrievalEntry(), Store("http://127.0.0.1:1", None, tmp_path / "none"), lambda model: WordEmbedder()
    )
    with pytest.raises(UnavailableError, match="can't be reached"):
        await library.names()
    await library.close()


async def test_a_server_and_a_folder_find_the_same(library: Library, tmp_path: Path) -> None:
    here = Library(RetrievalEntry(), Store(None, None, tmp_path / "here"), lambda model: WordEmbedder())
    fruit = ("apples", "pears", "plums", "quinces", "cherries")
    for one in (library, here):
        await one.make("notes")
        for number in range(150):  # more than there are candidates of a kind
            words = " ".join(fruit[: number % 6] + fruit[number % 4 :] * (number % 3))
            await one.put("notes", f"{number % 7}/{number}.txt", f"{words} and note {number}".encode())
    try:
        for by in ("both", "meaning", "words"):
            for where in (Where(), Where("3")):
                theirs, ours = [
                    await one.search(["notes"], "quinces with plums", k=20, by=by, where=where)
                    for one in (library, here)
                ]
                # of pieces that are as good as one another either may take another one
                assert [found.score for found in theirs] == pytest.approx([found.score for found in ours], abs=1e-4)
                assert [found.relevance for found in theirs] == pytest.approx([one.relevance for one in ours], abs=1e-4)
    finally:
        await here.close()
