"""`/api/v1/collections` over a real socket, with users in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models
from starlette.requests import Request

from kodify.api import collections
from kodify.auth import administration
from kodify.retrieval import syncing
from kodify.retrieval.base import Held
from kodify.retrieval.checkouts import Checkout
from kodify.retrieval.points import point_id
from kodify.retrieval.remote import RemoteCollection
from tests.api.test_errors import assert_error
from tests.retrieval.conftest import People, Start, fill, token_of


def test_administrators_fill_and_users_search(people: People) -> None:
    served, clients = people
    admin, reader = clients["admin"], clients["reader"]
    made = admin.post("/api/v1/collections", json={"name": "open"}).json()
    assert (made["name"], made["title"], made["model"], made["pieces"]) == (
        "open", "For everyone", "scripted-embedder", 0,
    )  # fmt: skip
    path = "/api/v1/collections/open"
    put = admin.put(f"{path}/documents/docs/a b.md?commit=c0ffee", content=b"# Pears\n\nPears are sweet.")
    assert put.json() == {"path": "docs/a b.md", "pieces": 1, "skipped": None}
    assert admin.put(f"{path}/documents/x.bin", content=b"\0").json()["skipped"] == "no text"
    assert admin.patch(path, json={"repository": "host/team/p", "commit": "c0ffee"}).status_code == 204
    status = admin.get(path).json()
    assert (status["documents"], status["pieces"], status["skipped"], status["running"], status["commit"]) == (
        1, 1, {"x.bin": "no text"}, 0, "c0ffee",
    )  # fmt: skip
    (found,) = reader.post(f"{path}/search", json={"query": "sweet pears"}).json()["data"]
    assert found["url"] is None  # nothing is known of a server called host
    where = {"commit": "c0ffee1", "repository": "github.com/team/p", "origin": "lib/c.md"}
    assert admin.put(f"{path}/documents/c.md", content=b"Iron is hard.", params=where).status_code == 200
    (iron,) = reader.post(f"{path}/search", json={"query": "hard iron", "k": 1}).json()["data"]
    assert iron["url"] == "https://github.com/team/p/blob/c0ffee1/lib/c.md?plain=1#L1-L1"
    assert admin.delete(f"{path}/documents/c.md").status_code == 204
    assert (found["path"], found["title"], found["start_line"], found["text"], found["commit"]) == (
        "docs/a b.md", "Pears", 1, "# Pears\n\nPears are sweet.", "c0ffee",
    )  # fmt: skip
    listed = reader.get("/api/v1/collections").json()["data"]
    assert [(one["name"], one["title"], one["searchable"]) for one in listed] == [("open", "For everyone", True)]
    assert admin.delete(f"{path}/documents/docs/a b.md").status_code == 204
    assert list(admin.get(f"{path}/documents").json()["data"][0]) == ["path", "digest", "pieces", "skipped", "source"]
    assert admin.delete(path).status_code == 204
    assert_error(admin.get(path), 404, "NotFoundError")

    async def acts() -> list[tuple[str, str, str | None]]:
        found = administration(served.app.state.auth, served.app.state.settings)
        assert found is not None
        return [(act.act, act.target, act.detail) for act in await found.acts(None, 99)]

    noted = asyncio.run_coroutine_threadsafe(acts(), served.loop).result(30)
    assert [one for one in noted if one[0] != "create"] == [
        ("delete collection", "open", None),
        ("remove", "open", "docs/a b.md"),
        ("remove", "open", "c.md"),
        ("upload", "open", "c.md"),
        ("fill collection", "open", "host/team/p c0ffee"),
        ("upload", "open", "x.bin"),
        ("upload", "open", "docs/a b.md"),
        ("make collection", "open", "for scripted-embedder"),
    ]


def test_looking_for_collections_makes_none(start: Start) -> None:
    """Nothing is opened either, that `kodify index` would find locked."""
    served = start()
    with served.client() as client:
        assert client.get("/api/v1/collections").json() == {"data": []}
    assert not (Path(served.app.state.settings.data_path) / "qdrant").exists()


def test_a_collection_for_another_model_is_told(start: Start) -> None:
    served = start()
    fill(served, "notes", {"a.md": "Pears are sweet."})
    embedder = served.app.state.engines.all[1].engine
    embedder.names = ("another-model",)
    with served.client() as client:
        assert [one["searchable"] for one in client.get("/api/v1/collections").json()["data"]] == [False]
        asked = {"retrieval": {"collection": "notes"}, "messages": [{"role": "user", "content": "pears"}]}
        answer = client.post("/v1/chat/completions", json=asked)
    assert_error(answer, 409, "ConflictError")
    assert answer.json()["param"] == "collection"


@pytest.mark.parametrize(
    ("collection", "who"),
    [
        ("open", {"admin", "reader", "other"}),
        ("closed", {"admin", "reader"}),
        ("grouped", {"admin", "other"}),
        ("unlisted", {"admin"}),
    ],
)
def test_who_may_search(people: People, collection: str, who: set[str]) -> None:
    """For all others the collection is not there."""
    _, clients = people
    assert clients["admin"].post("/api/v1/collections", json={"name": collection}).status_code == 200
    for name, client in clients.items():
        answer = client.post(f"/api/v1/collections/{collection}/search", json={"query": "x", "by": "words"})
        listed = [one["name"] for one in client.get("/api/v1/collections").json()["data"]]
        if name in who:
            assert answer.json() == {"data": []}
            assert listed == [collection]
        else:
            assert_error(answer, 404, "NotFoundError", f"There is no collection {collection}.")
            assert listed == []
            for method, path in (("PUT", "/documents/a.md"), ("DELETE", ""), ("GET", "")):
                assert_error(client.request(method, f"/api/v1/collections/{collection}{path}"), 403, "ForbiddenError")


@pytest.mark.parametrize(
    "path", ["%2e%2e/a", "a//b", "a/%2e/b", "a/%2e%2e/%2e%2e/b", "%0a", "x" * 1025, "a%c2%9b2J", "%7f"]
)
def test_a_documents_path_is_plain(people: People, path: str) -> None:
    _, clients = people
    clients["admin"].post("/api/v1/collections", json={"name": "open"})
    request = clients["admin"].build_request("PUT", "/", content=b"text")
    request.url = request.url.copy_with(raw_path=f"/api/v1/collections/open/documents/{path}".encode())
    assert_error(clients["admin"].send(request), 400, "BadRequestError")


def test_the_event_loop_goes_on_while_documents_are_listed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    served = start()
    fill(served, "notes", {"a.md": "text"})
    threads, written = [], collections._document

    def document(path: str, held: Held) -> dict[str, object]:
        threads.append(threading.get_ident())
        return written(path, held)

    monkeypatch.setattr(collections, "_document", document)
    scope = {"type": "http", "app": served.app, "path_params": {"name": "notes"}}

    async def ask() -> int:
        await collections.documents(Request(scope))
        return threading.get_ident()

    loop = asyncio.run_coroutine_threadsafe(ask(), served.loop).result(30)
    assert threads
    assert loop not in threads


@pytest.mark.parametrize(
    "path", ["Отчёт\u00a0за май.md", "10\u202f000.md", "zero\u200bwidth.md", "👩\u200d💻.md", "a\u2028b.md"]
)
def test_ordinary_names_are_taken(people: People, path: str) -> None:
    _, clients = people
    clients["admin"].post("/api/v1/collections", json={"name": "open"})
    assert clients["admin"].put(f"/api/v1/collections/open/documents/{path}", content=b"text").json()["path"] == path
    (held,) = clients["admin"].get("/api/v1/collections/open/documents").json()["data"]
    assert (held["path"], held["source"]) == (path, None)


async def test_two_first_runs_at_once_make_one_collection(people: People) -> None:
    served, clients = people
    token = token_of(clients["admin"])
    async with contextlib.AsyncExitStack() as stack:
        names = ["open"] * 8
        runs = [await stack.enter_async_context(RemoteCollection(served.url, token, name)) for name in names]
        await asyncio.gather(*(run.make_sure() for run in runs))
        assert await runs[0].held() == {}


async def test_a_run_over_http_removes_only_its_own(people: People, tmp_path: Path) -> None:
    served, clients = people
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.md").write_text("# A")
    (root / "b.md").write_text("# B")
    token = token_of(clients["admin"])
    async with RemoteCollection(served.url, token, "open") as remote:
        await remote.make_sure()
        assert clients["admin"].put("/api/v1/collections/open/documents/up.md", content=b"# Up").status_code == 200
        await syncing.sync(root, Checkout("https://host/p", "1"), remote)
        (root / "b.md").unlink()
        report = await syncing.sync(root, Checkout("https://host/p", "1"), remote)
        sources = {path: one.source for path, one in (await remote.held()).items()}
    assert (report.removed, report.unchanged, report.others) == (1, 1, 1)
    assert sources == {"a.md": "https://host/p", "up.md": None}
    assert clients["admin"].get("/api/v1/collections/open").json()["repository"] == "host/p"
    assert clients["admin"].get("/api/v1/collections/open").json()["stale"] == 0


def test_documents_that_are_not_whole_are_told(people: People) -> None:
    served, clients = people
    fill(served, "open", {"a.md": "# A\n\none\n\n# B\n\ntwo", "b.md": "# B"})

    async def break_off() -> None:
        library = served.app.state.library
        store = library._store

        def work() -> None:
            store._client.delete("open", points_selector=models.PointIdsList(points=[point_id("a.md", 1)]))
            store._shelves.clear()

        await library._in_thread(work)

    asyncio.run_coroutine_threadsafe(break_off(), served.loop).result(30)
    status = clients["admin"].get("/api/v1/collections/open").json()
    assert (status["documents"], status["pieces"], status["stale"]) == (2, 2, 1)
    data = clients["admin"].get("/api/v1/collections/open/documents").json()["data"]
    assert {one["path"]: bool(one["digest"]) for one in data} == {"a.md": False, "b.md": True}


@pytest.mark.parametrize(
    "body", [{}, {"query": ""}, {"query": "x", "k": 0}, {"query": "x", "threshold": 1}, {"query": "x", "by": "y"}]
)
def test_wrong_searches(start: Start, body: dict[str, Any]) -> None:
    with start().client() as client:
        assert_error(client.post("/api/v1/collections/a/search", json=body), 400, "BadRequestError")


def test_without_users_nobody_is_an_administrator_and_all_is_searched(start: Start) -> None:
    served = start()
    library = served.app.state.library

    async def fill() -> None:
        await library.make("notes")
        await library.put("notes", "a.txt", b"pears")

    asyncio.run_coroutine_threadsafe(fill(), served.loop).result(30)
    with served.client() as client:
        assert_error(client.post("/api/v1/collections", json={"name": "x"}), 403, "ForbiddenError")
        found = client.post("/api/v1/collections/notes/search", json={"query": "pears"}).json()["data"]
    assert [one["path"] for one in found] == ["a.txt"]


async def test_a_folder_goes_to_a_running_kodify(people: People, tmp_path: Path) -> None:
    served, clients = people
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "a.md").write_text("# A\n\napples")
    (root / "b.md").write_text("# B\n\npears")
    token = token_of(clients["admin"])
    async with RemoteCollection(served.url, token, "open") as remote:
        await remote.make_sure()
        first = await syncing.sync(root, Checkout("host/p", "1"), remote)
        (root / "b.md").unlink()
        second = await syncing.sync(root, Checkout("host/p", "2"), remote)
        held = await remote.held()
        found = await remote.search({"query": "apples"})
    assert (first.indexed, first.removed, second.indexed, second.unchanged, second.removed) == (2, 0, 0, 1, 1)
    assert list(held) == ["a.md"]
    assert [one["path"] for one in found] == ["a.md"]
    assert clients["admin"].get("/api/v1/collections/open").json()["commit"] == "2"
