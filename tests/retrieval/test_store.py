"""What is asked of a Qdrant server, put to the library's own stand-in for one: no server is started here."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from kodify.config_file import RetrievalEntry
from kodify.engine.scripted import WordEmbedder
from kodify.errors import KodifyError, NotFoundError, UnavailableError
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


Answering = Callable[[int, bytes, dict[str, str]], str]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """answering(status, body, headers): the address of a server that says just this."""
    servers: list[ThreadingHTTPServer] = []

    def serve(status: int, body: bytes, headers: dict[str, str]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET

            def log_message(self, format: str, *arguments: object) -> None: ...

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "message", "logged"),
    [
        (401, b"Must provide an API key", {}, UnavailableError, "refuses Kodify's key", "Qdrant answered 401: Must"),
        (403, b"{}", {}, UnavailableError, "QDRANT_API_KEY", "Qdrant answered 403"),
        (
            400,
            b'{"status":{"error":"wrong size"}}',
            {},
            KodifyError,
            r"refused what it was asked \(400\)",
            "wrong size",
        ),
        (413, b"too large", {}, KodifyError, r"\(413\)", "too large"),
        (404, b"{}", {}, NotFoundError, "There is no collection notes", ""),
        (429, b"{}", {"retry-after": "7"}, UnavailableError, "can't be reached", ""),
        (429, b"{}", {}, UnavailableError, "can't be reached", "Qdrant answered 429"),
        (500, b"panic", {}, UnavailableError, "can't be reached", "Qdrant answered 500: panic"),
        (302, b"", {"location": "/login"}, UnavailableError, "can't be reached", "Qdrant answered 302"),
        (200, b"<html>hello", {}, UnavailableError, "can't be reached", "something else answers at QDRANT_URL"),
        (200, b'{"result": 1}', {}, UnavailableError, "can't be reached", "something else answers"),
        (200, b"\xff", {}, UnavailableError, "can't be reached", "something else answers"),
    ],
)
async def test_what_a_server_answers_is_told_apart(
    answering: Answering,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: bytes,
    headers: dict[str, str],
    kind: type[KodifyError],
    message: str,
    logged: str,
) -> None:
    store = Store(answering(status, body, headers), "secret-key", Path("none"))
    library = Library(RetrievalEntry(), store, lambda model: WordEmbedder())
    for call in (library.count("notes"), library.search(["notes"], "pears"), library.drop("notes")):
        with pytest.raises(kind, match=message) as raised:
            await call
        assert type(raised.value) is kind
    assert logged in caplog.text
    assert "secret-key" not in caplog.text
    if "retry-after" in headers:
        assert raised.value.retry_after_s == 7
    await library.close()


async def test_a_collection_of_the_server_that_is_gone_is_forgotten(library: Library, answering: Answering) -> None:
    await library.make("notes")
    await library.about("notes")
    client = library._store._client
    library._store._client = QdrantClient(url=answering(404, b"{}", {}), check_compatibility=False)
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await library.search(["notes"], "pears")
    library._store._client.close()
    library._store._client = client
    assert await library.search(["notes"], "pears") == []
