"""A folder into a collection, incrementally; a run that was killed goes on without duplicates."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kodify.config_file import RetrievalEntry
from kodify.engine.scripted import WordEmbedder
from kodify.errors import UnavailableError
from kodify.retrieval.base import NOWHERE, Held, Origin
from kodify.retrieval.library import Library, Put
from kodify.retrieval.store import Store
from kodify.retrieval.syncing import Report, sync
from kodify.retrieval.walking import Checkout, checkout_of, repository_name, walk

FILES = 60


class Target:
    """As `kodify index` has it, without the command line."""

    def __init__(self, library: Library, name: str) -> None:
        self._library = library
        self._name = name

    async def held(self) -> dict[str, Held]:
        return await self._library.held(self._name)

    async def put(self, path: str, data: bytes, origin: Origin) -> Put:
        return await self._library.put(self._name, path, data, origin)

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
from kodify.retrieval.walking import Checkout
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
            before = len(await library.held("code"))
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


def test_gitignore_is_honoured_as_git_does(tmp_path: Path) -> None:
    for path, text in {
        ".gitignore": "*.log\n/build/\n!keep.log\n",
        "a.py": "", "a.log": "", "keep.log": "", "build/x.py": "", "sub/build/y.py": "",
        "sub/.gitignore": "*.tmp\n!a.log\n", "sub/b.tmp": "", "sub/a.log": "", "sub/c.py": "",
        ".git/config": "", ".git/info/exclude": "excluded.md\n", "excluded.md": "", "node_modules/x.js": "",
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    assert [one.path for one in walk(tmp_path)] == [
        ".gitignore", "a.py", "keep.log", "sub/.gitignore", "sub/a.log", "sub/build/y.py", "sub/c.py",
    ]  # fmt: skip


def test_what_git_knows(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        command = ["git", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **who}).stdout

    assert checkout_of(tmp_path) == Checkout()
    git("init", "-q")
    git("remote", "add", "origin", "https://user:secret@git.example.ru/team/project.git")
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert checkout_of(tmp_path) == Checkout("git.example.ru/team/project", git("rev-parse", "HEAD").strip())
    (tmp_path / "src").mkdir()
    for name in ("same ы.py", "changed.py"):
        (tmp_path / "src" / name).write_text("a = 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "second")
    (tmp_path / "src" / "changed.py").write_text("a = 2\n")
    (tmp_path / "src" / "new.py").write_text("a = 1\n")
    found, commit = checkout_of(tmp_path / "src"), git("rev-parse", "HEAD").strip()
    assert found.origin("same ы.py") == Origin(commit, "git.example.ru/team/project", "src/same ы.py")
    assert found.origin("changed.py") == found.origin("new.py") == NOWHERE
    assert checkout_of(tmp_path / "src" / "same ы.py").origin("same ы.py").path == "src/same ы.py"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("git@github.com:a/b.git", "github.com/a/b"),
        ("ssh://git@Host:22/a/b.git", "host/a/b"),
        ("https://u:p@host:8443/a/b/", "host/a/b"),
        ("/srv/git/x.git", "/srv/git/x"),
        ("", None),
        (None, None),
    ],
)
def test_a_repositorys_name(address: str | None, name: str | None) -> None:
    assert repository_name(address) == name


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
