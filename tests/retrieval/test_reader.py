"""What a document does to its reader, it does to a process that is put away, and to no other document."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from kodify.config_file import RetrievalEntry
from kodify.engine.scripted import WordEmbedder
from kodify.retrieval.base import PassingSkipError, SkippedError
from kodify.retrieval.library import Library
from kodify.retrieval.reader import AT_ONCE, Reader
from kodify.retrieval.reader_process import Limits
from kodify.retrieval.store import Store
from tests.conftest import eventually
from tests.retrieval.test_reading import docx_of

RUNS = "<w:r><w:t>a</w:t><w:tab/></w:r>" * 4
CODE = b"def f():\n    return 1\n"


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    found = Reader()
    yield found
    found.close()


def readers(of: int | None = None) -> list[psutil.Process]:
    return [one for one in psutil.Process(of).children() if "reader_process" in command_of(one)]


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


async def test_one_process_reads_on(reader: Reader) -> None:
    assert readers() == []
    ballast = b"x" * 400_000_000  # what the server has taken is not held against its readers
    for number in range(20):
        document = await reader.read(f"{number}.py", CODE, 1800)
        assert [(piece.title, piece.start, piece.end) for piece in document.pieces] == [("f", 1, 2)]
    (process,) = readers()
    del ballast
    many = await asyncio.gather(*(reader.read(f"{number}.md", b"# A\n\ntext", 1800) for number in range(20)))
    assert {one.pieces[0].text for one in many} == {"# A\n\ntext"}
    assert process in readers()
    assert len(readers()) <= AT_ONCE
    reader.close()
    assert readers() == []


async def test_what_grammars_are_at_a_loss_with_is_a_text(reader: Reader) -> None:
    for path, data in (("a.java", b"a<" * 20_000), ("a.cs", b"a<" * 8000), ("a.rb", b"%w(" * 10_000)):
        document = await reader.read(path, data, 1800)
        assert sum(len(piece.text) for piece in document.pieces) == len(data)
    assert (await reader.read("a.py", CODE, 1800)).pieces[0].title == "f"


async def test_the_event_loop_goes_on_meanwhile(reader: Reader) -> None:
    await reader.read("a.py", CODE, 1800)
    reading = asyncio.ensure_future(reader.read("a.java", b"a<" * 20_000, 1800))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 10  # with the parser in this process there are two or three
    assert (await reading).pieces


@pytest.mark.parametrize(
    ("limits", "path", "data", "passing", "told"),
    [
        (Limits(memory_bytes=150 * 1024 * 1024), "a.txt", b"12\n" * 2_500_000, True, "too much memory"),
        (Limits(cpu_s=1), "a.docx", docx_of(f"<w:p>{RUNS}</w:p>" * 40_000), False, "too long"),
    ],
)
async def test_memory_and_time_have_an_end(limits: Limits, path: str, data: bytes, passing: bool, told: str) -> None:
    small = Reader(limits)
    try:
        with pytest.raises(SkippedError, match=told) as skipped:
            await small.read(path, data, 1800)
        assert isinstance(skipped.value, PassingSkipError) == passing
        assert (await small.read("a.py", CODE, 1800)).pieces
    finally:
        small.close()


async def test_one_that_is_stuck_is_replaced(reader: Reader) -> None:
    await reader.read("a.py", CODE, 1800)
    (process,) = readers()
    process.suspend()
    reader._idle[0]._limits = Limits(wait_s=1)
    with pytest.raises(PassingSkipError, match="not read within"):
        await reader.read("a.py", CODE, 1800)
    assert process not in readers()
    assert (await reader.read("a.py", CODE, 1800)).pieces


async def test_one_that_has_nothing_to_do_goes() -> None:
    short = Reader(Limits(idle_s=1))
    for _ in range(2):
        assert (await short.read("a.py", CODE, 1800)).pieces
        await asyncio.to_thread(eventually, lambda: readers() == [])
    short.close()


async def test_what_is_broken_off_is_told_and_tried_again(tmp_path: Path) -> None:
    library = Library(RetrievalEntry(), Store(None, None, tmp_path / "q"), lambda model: WordEmbedder())
    await library.make("code")
    await library.put("code", "first.py", CODE)
    (process,) = readers()
    process.suspend()
    putting = asyncio.ensure_future(library.put("code", "a.py", CODE))
    await asyncio.sleep(0.1)
    process.kill()
    put = await putting
    assert put.skipped == "its reader was ended; the next run tries again"
    assert "a.py" not in await library.held("code")
    assert (await library.put("code", "a.py", CODE)).pieces == 1
    assert (await library.put("code", "a.pdf", b"%PDF-1.4 broken")).skipped is not None
    assert (await library.held("code"))["a.pdf"].skipped is not None
    await library.close()
    assert readers() == []


async def test_closing_breaks_off_what_is_being_read(reader: Reader) -> None:
    await reader.read("a.py", CODE, 1800)
    (process,) = readers()
    process.suspend()
    reading = asyncio.ensure_future(reader.read("b.py", CODE, 1800))
    await asyncio.sleep(0.1)
    reader.close()
    with pytest.raises(PassingSkipError):
        await reading
    assert readers() == []


@pytest.mark.parametrize("busy", [True, False])
def test_no_reader_outlives_who_asked_it(busy: bool) -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "read\n"
        (process,) = readers(parent.pid)
        if busy:
            process.suspend()  # it looks at nothing now
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


PARENT = """
import asyncio, time
from kodify.retrieval.reader import Reader

reader = Reader()
asyncio.run(reader.read("a.py", b"x = 1", 1800))
print("read", flush=True)
time.sleep(600)
"""


async def test_it_has_nothing_of_the_folder_nor_of_the_settings(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kodify", "orjson", "tree_sitter", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QDRANT_API_KEY", "a-secret")
    assert (await reader.read("a.py", CODE, 1800)).pieces[0].title == "f"
    (process,) = readers()
    assert "a-secret" not in process.environ().values()
