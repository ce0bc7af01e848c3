"""A folder into a collection, incrementally; a run that was killed goes on without duplicates."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from qdrant_client import models

from kodify.config_file import RetrievalEntry
from kodify.engine.scripted import WordEmbedder
from kodify.errors import UnavailableError
from kodify.retrieval import digests
from kodify.retrieval.base import Held, Origin
from kodify.retrieval.checkouts import Checkout
from kodify.retrieval.library import Library, Put
from kodify.retrieval.points import point_id
from kodify.retrieval.store import Store
from kodify.retrieval.syncing import Report, sync

FILES = 60


class Target:
    """As `kodify index` has it, without the command line."""

    def __init__(self, library: Library, name: str) -> None:
        self._library = library
        self._name = name

    async def held(self) -> dict[str, Held]:
        return await self._library.held(self._name)

    async def put(self, path: str, data: bytes, origin: Origin, source: str) -> Put:
        return await self._library.put(self._name, path, data, origin, source)

    async def remove(self, path: str) -> None:
        await self._library.remove(self._name, path)

    async def note(self, checkout: Checkout) -> None:
        await self._library.note(self._name, checkout.repository, checkout.commit)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    (found / "lib").mkdir(parents=True)
    for number in range(FILES):
        functions = [
            f"def f{number}_{part}(x):\n"
            f"    '''Part {part} of {number}, which says enough to stand alone, and more so that it is no scrap.'''\n"
            f"    return x + {part}\n"
            for part in range(3)
        ]
        (found / "lib" / f"m{number:02}.py").write_text("\n\n".join(functions))
    return found


async def test_only_what_changed_is_embedded_again(library: Library, embedder: WordEmbedder, root: Path) -> None:
    await library.make("code")
    target = Target(library, "code")
    assert summary(await sync(root, Checkout(), target)) == (FILES, 0, 0)
    embedder.asked.clear()
    assert summary(await sync(root, Checkout(), target)) == (0, FILES, 0)
    assert embedder.asked == []
    (root / "lib" / "m00.py").write_text("def other(): return 'something new that was not there before, at length'\n")
    (root / "lib" / "m01.py").unlink()
    assert summary(await sync(root, Checkout(), target)) == (1, FILES - 2, 1)
    assert len(embedder.asked) == 1
    assert await library.count("code") == (FILES - 2) * 3 + 1


async def test_a_part_of_a_collection_leaves_the_others_alone(library: Library, root: Path) -> None:
    await library.make("code")
    target = Target(library, "code")
    await library.put("code", "other/a.txt", b"text")
    await sync(root, Checkout(), target, under="mine/")
    await sync(root, Checkout(), target, under="mine")
    held = await library.held("code")
    assert "other/a.txt" in held
    assert "mine/lib/m00.py" in held
    await sync(root / "lib" / "m00.py", Checkout(), target)  # one file removes nothing
    assert len(await library.held("code")) == FILES + 2


async def test_a_run_removes_only_what_it_has_put(library: Library, root: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "guide.md").write_text("# Guide")
    (docs / "old.md").write_text("# Old")
    await library.make("code")
    target = Target(library, "code")
    await library.put("code", "uploaded.md", b"# Uploaded")
    await library.put("code", "docs/uploaded.md", b"# Uploaded")
    await sync(root, Checkout(), target)
    await sync(docs, Checkout(), target, under="docs")
    (root / "lib" / "m00.py").unlink()
    report = await sync(root, Checkout(), target)
    assert (report.removed, report.unchanged, report.others) == (1, FILES - 1, 4)
    (docs / "old.md").unlink()
    (docs / "mark.md").write_text("")
    await sync(docs, Checkout(), target, under="docs")
    (docs / "mark.md").unlink()  # of a document that is skipped it is known too
    report = await sync(docs, Checkout(), target, under="docs")
    assert (report.removed, report.unchanged, report.others) == (1, 1, 1)
    held = await library.held("code")
    assert {path for path in held if not path.startswith("lib/")} == {
        "uploaded.md", "docs/uploaded.md", "docs/guide.md",
    }  # fmt: skip


async def test_a_checkout_is_the_same_wherever_it_is(library: Library, root: Path, tmp_path: Path) -> None:
    await library.make("code")
    target = Target(library, "code")
    await sync(root, Checkout("host/p", "1"), target)
    elsewhere = Path(shutil.move(root, tmp_path / "elsewhere"))
    (elsewhere / "lib" / "m00.py").unlink()
    assert summary(await sync(elsewhere, Checkout("host/p", "2"), target)) == (0, FILES - 1, 1)
    (elsewhere / "lib" / "m01.py").unlink()
    report = await sync(elsewhere, Checkout(), target)
    assert (report.removed, report.others) == (0, 1)
    await sync(elsewhere, Checkout(), target, source="wiki", under="wiki")
    again = Path(shutil.move(elsewhere, tmp_path / "again"))
    (again / "lib" / "m02.py").unlink()
    assert summary(await sync(again, Checkout(), target, source="wiki", under="wiki")) == (0, FILES - 3, 1)


async def test_it_is_known_after_it_was_closed(embedder: WordEmbedder, root: Path, tmp_path: Path) -> None:
    for turn in range(3):
        library = Library(RetrievalEntry(), Store(None, None, tmp_path / "q"), lambda model: embedder)
        if turn == 0:
            await library.make("code")
            await library.put("code", "uploaded.md", b"# Uploaded")
        assert summary(await sync(root, Checkout(), Target(library, "code"))) == [
            (FILES, 0, 0), (0, FILES - 1, 1), (0, FILES - 2, 1),
        ][turn]  # fmt: skip
        assert "uploaded.md" in await library.held("code")
        await library.close()
        (root / "lib" / f"m0{turn}.py").unlink()


async def test_the_commit_is_of_a_whole_checkout(library: Library, root: Path) -> None:
    await library.make("code")
    target = Target(library, "code")
    await sync(root, Checkout("host/p", "1"), target)
    for checkout, folder, under in (
        (Checkout("host/docs", "2"), root, "docs"),
        (Checkout(), root, ""),
        (Checkout("host/docs", "2"), root / "lib" / "m00.py", ""),
    ):
        await sync(folder, checkout, target, under=under)
        about = await library.about("code", fresh=True)
        assert (about.repository, about.commit) == ("host/p", "1")


async def test_what_was_broken_off_is_put_again_or_removed(library: Library, root: Path) -> None:
    await library.make("code")
    target = Target(library, "code")
    await sync(root, Checkout(), target)
    store = library._store
    assert store._client is not None
    for number in (0, 1):
        one = point_id(f"lib/m0{number}.py", 2)
        store._client.delete("code", points_selector=models.PointIdsList(points=[one]))
    store._shelves.clear()  # as a process that was killed leaves it
    (root / "lib" / "m00.py").unlink()
    held = await library.held("code")
    assert [(held[path].digest, held[path].pieces) for path in ("lib/m00.py", "lib/m01.py")] == [("", 2)] * 2
    assert summary(await sync(root, Checkout(), target)) == (1, FILES - 2, 1)
    assert await library.count("code") == (FILES - 1) * 3
    assert "lib/m00.py" not in await library.held("code")


async def test_what_is_below_a_folder_that_cant_be_read_stays(
    library: Library, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.md").write_text("# A")
    (root / "b.md").write_text("# B")
    await library.make("code")
    target = Target(library, "code")
    for under in ("", "sub"):
        await sync(root, Checkout(), target, under=under)
    (root / "a.md").unlink()
    scandir = os.scandir

    def scanned(folder: Path) -> object:
        if folder.name in closed:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scanned)
    for under, above in (("", ""), ("sub", "sub/")):
        closed = {"project"}
        report = await sync(root, Checkout(), target, under=under)
        assert (report.removed, report.skipped) == (0, {under or ".": "it can't be read: Permission denied"})
        closed = {"lib"}
        report = await sync(root, Checkout(), target, under=under)
        assert (report.removed, report.skipped) == (1, {above + "lib": "it can't be read: Permission denied"})
    assert len(await library.held("code")) == 2 * (FILES + 1)


@pytest.mark.parametrize("entry", [{"passage_prefix": "passage: "}, {}])
async def test_other_rules_index_anew(
    embedder: WordEmbedder, root: Path, tmp_path: Path, entry: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(None, None, tmp_path / "q")
    library = Library(RetrievalEntry(), store, lambda model: embedder)
    await library.make("code")
    await sync(root, Checkout(), Target(library, "code"))
    if not entry:
        monkeypatch.setattr(embedder, "context_tokens", 150)
    other = Library(RetrievalEntry.model_validate(entry), store, lambda model: embedder)
    assert {one.digest for one in (await other.held("code")).values()} == {""}
    assert summary(await sync(root, Checkout(), Target(other, "code"))) == (FILES, 0, 0)
    assert summary(await sync(root, Checkout(), Target(other, "code"))) == (0, FILES, 0)
    await other.close()
    await library.close()


async def test_another_version_of_the_code_indexes_anew(
    library: Library, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library.make("code")
    await sync(root, Checkout(), Target(library, "code"))
    monkeypatch.setattr(digests, "CUT_VERSION", "another")
    assert summary(await sync(root, Checkout(), Target(library, "code"))) == (FILES, 0, 0)


async def test_hostile_documents_are_left_out_with_a_line_and_the_rest_goes_on(library: Library, root: Path) -> None:
    with (root / "huge.txt").open("wb") as huge:
        huge.truncate(1024**3)
    with zipfile.ZipFile(root / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("word/document.xml", bytes(300_000_000))
    (root / "broken.pdf").write_bytes(b"%PDF-1.7\n1 0 obj << /Type /Catalog /Pages 2 0 R >>\nendobj\ngarbage")
    (root / "loop.pdf").write_bytes(looping_pdf())
    (root / ".env").write_text("TOKEN=abc")
    (root / "key.txt").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nabc")
    (root / "binary").write_bytes(bytes(range(256)))
    (root / "notes.md").write_text("# Fine\n\nThis one is read.")
    await library.make("code")
    report = await sync(root, Checkout(), Target(library, "code"))
    assert report.failed == {}
    assert report.skipped.keys() == {"huge.txt", "bomb.docx", "broken.pdf", "loop.pdf", ".env", "key.txt", "binary"}
    assert "1,073,741,824 bytes" in report.skipped["huge.txt"]
    assert "zip bomb" in report.skipped["bomb.docx"]
    assert "notes.md" in await library.held("code")
    again = await sync(root, Checkout(), Target(library, "code"))
    assert again.skipped == report.skipped
    assert again.indexed == 0


async def test_one_that_fails_is_told_of_and_tried_again(library: Library, embedder: WordEmbedder, root: Path) -> None:
    await library.make("code")
    embedder.error = UnavailableError("not now")
    report = await sync(root, Checkout(), Target(library, "code"))
    assert len(report.failed) == FILES
    embedder.error = None
    assert summary(await sync(root, Checkout(), Target(library, "code"))) == (FILES, 0, 0)


CHILD = """
import asyncio, sys, time
from pathlib import Path
from kodify.config_file import RetrievalEntry
from kodify.engine.scripted import WordEmbedder
from kodify.retrieval.library import Library
from kodify.retrieval.store import Store
from kodify.retrieval.syncing import sync
from kodify.retrieval.checkouts import Checkout
from tests.retrieval.test_syncing import Target

class Slow(WordEmbedder):
    async def embed(self, inputs, **more):
        await asyncio.sleep(0.05)
        return await super().embed(inputs, **more)

async def main():
    library = Library(RetrievalEntry(), Store(None, None, Path(sys.argv[2])), lambda model: Slow())
    if "code" not in await library.names():
        await library.make("code")
    def told(done, every, path):
        print(done, flush=True)
    await sync(Path(sys.argv[1]), Checkout(), Target(library, "code"), told=told)

asyncio.run(main())
"""


def test_a_run_that_was_killed_goes_on_without_duplicates(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(root), str(tmp_path / "qdrant")]
    for stop_at in (5, 25, 45):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= stop_at:
                child.send_signal(signal.SIGKILL)
                break
        child.wait(60)
        child.stdout.close()

    async def finish() -> tuple[int, int, int]:
        library = Library(RetrievalEntry(), Store(None, None, tmp_path / "qdrant"), lambda model: WordEmbedder())
        try:
            before = sum(1 for one in (await library.held("code")).values() if one.digest)
            report = await sync(root, Checkout(), Target(library, "code"))
            assert report.unchanged == before
            return before, await library.count("code"), len(await library.held("code"))
        finally:
            await library.close()

    before, count, held = asyncio.run(finish())
    assert 0 < before < FILES
    assert (count, held) == (FILES * 3, FILES)


async def test_two_at_once_on_one_collection(library: Library, root: Path) -> None:
    await library.make("code")
    target = Target(library, "code")
    await asyncio.gather(sync(root, Checkout(), target), sync(root, Checkout(), target))
    assert await library.count("code") == FILES * 3
    assert len(await library.held("code")) == FILES


def summary(report: Report) -> tuple[int, int, int]:
    assert report.failed == {}
    return report.indexed, report.unchanged, report.removed


def looping_pdf() -> bytes:
    """A page tree that is its own child."""
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[2 0 R]/Count 100000000>>endobj\n"
        b"xref\n0 3\n0000000000 65535 f \n0000000009 00000 n \n0000000052 00000 n \n"
        b"trailer<</Root 1 0 R/Size 3>>\nstartxref\n110\n%%EOF"
    )
