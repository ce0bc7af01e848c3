"""The file between an answer and the database: nothing of it is lost but what its limit says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kodify.errors import ConfigError
from kodify.journal import spool as spools
from kodify.journal.spool import Abandoned, Spool, SpoolFull

HEAD = b"the configuration"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    found = Spool(tmp_path, 10_000_000, HEAD)
    found.open()
    yield found
    found.close()


def left_by_a_crash(folder: Path, rows: list[bytes], limit: int = 1 << 30) -> Path:
    """A folder with a spool whose process is no more."""
    spool = Spool(folder, limit, HEAD)
    spool.open()
    for row in rows:
        spool.append(row)
    for segment in spool._segments:
        os.close(segment.descriptor)
    os.close(spool._lock)
    return spool._folder


def everything(source: Spool | Abandoned, most_rows: int = 3) -> tuple[list[bytes], int]:
    rows: list[bytes] = []
    damaged = 0
    while (batch := source.next_batch(most_rows)) is not None:
        rows += batch.rows
        damaged += batch.damaged
        assert len(batch.rows) <= most_rows
        source.done(batch)
    return rows, damaged


def taken_over(folder: Path) -> list[Abandoned]:
    other = Spool(folder, 1 << 30, HEAD)
    other.open()
    try:
        return list(other.left_behind())
    finally:
        other.close()


def test_rows_come_out_in_order_and_the_file_shrinks(spool: Spool) -> None:
    rows = [b"%d" % number * 100 for number in range(50)]
    for row in rows:
        spool.append(row)
    assert (spool.waiting, spool.size > 5_000) == (50, True)
    assert everything(spool) == (rows, 0)
    assert (spool.waiting, spool.size < 100) == (0, True)
    spool.append(b"more")
    assert everything(spool) == ([b"more"], 0)


def test_what_was_not_moved_is_read_again(spool: Spool) -> None:
    spool.append(b"a")
    first, again = spool.next_batch(9), spool.next_batch(9)
    assert first is not None
    assert again is not None
    assert first.rows == again.rows == [b"a"]


def test_rows_that_come_while_a_batch_is_on_its_way(spool: Spool) -> None:
    spool.append(b"a")
    batch = spool.next_batch(9)
    assert batch is not None
    spool.append(b"b")
    spool.done(batch)
    assert everything(spool) == ([b"b"], 0)


def test_segments_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "SEGMENT_BYTES", 1_000)
    monkeypatch.setattr(spools, "READ_BYTES", 300)
    spool = Spool(tmp_path, 1 << 20, HEAD)
    spool.open()
    rows = [bytes([number]) * (number * 37 % 900) for number in range(100)]
    for row in rows:
        spool.append(row)
    assert len(list(spool._folder.glob("*.spool"))) > 10
    assert everything(spool) == (rows, 0)
    assert len(list(spool._folder.glob("*.spool"))) == 1
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_the_limit_counts_what_was_taken_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000, HEAD)
    spool.open()
    with pytest.raises(SpoolFull):
        for _ in range(100):
            spool.append(b"x" * 100)
    assert spool.size <= 1_000
    assert 5 < spool.waiting < 10
    everything(spool)
    spool.append(b"x" * 100)  # there is room again
    spool.foreign_size = 5_000
    with pytest.raises(SpoolFull):
        for _ in range(100):
            spool.append(b"x" * 50)
    assert 0 < spool.waiting < 4  # a quarter is there, whatever was taken over
    spool.close()
    with pytest.raises(OSError, match="has ended"):
        spool.append(b"late")


def test_a_full_disk_leaves_no_half_of_a_frame(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(b"before")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    with pytest.raises(OSError, match="space"):
        spool.append(b"too much")
    monkeypatch.undo()
    spool.append(b"after")
    assert everything(spool) == ([b"before", b"after"], 0)


def test_a_file_that_somebody_cut_ends_the_reading(spool: Spool) -> None:
    for _ in range(3):
        spool.append(b"x" * 1_000)
    os.truncate(next(spool._folder.glob("*.spool")), 0)
    rows, damaged = everything(spool)
    assert (rows, damaged > 3_000, spool.waiting) == ([], True, 0)
    spool.append(b"after")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="DATA_PATH"):
        Spool(tmp_path / "file", 1_000, HEAD).open()


def test_nobody_else_may_read_it(spool: Spool) -> None:
    for path in (spool._folder, *spool._folder.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_crash_leaves_a_spool_that_one_other_takes_over(tmp_path: Path) -> None:
    rows = [b"a" * 10, b"", b"c" * 2_000_000, b"d"]
    folder = left_by_a_crash(tmp_path, rows)
    (abandoned,) = taken_over(tmp_path)
    assert taken_over(tmp_path) == []  # it is locked now
    batch = abandoned.next_batch(1)
    assert batch is not None
    assert batch.configs == [HEAD]
    assert everything(abandoned) == (rows, 0)
    abandoned.close()
    assert not folder.exists()


def test_what_a_takeover_did_not_finish_stays(tmp_path: Path) -> None:
    left_by_a_crash(tmp_path, [b"a", b"b"])
    (abandoned,) = taken_over(tmp_path)
    assert abandoned.next_batch(9) is not None
    abandoned.close()
    (again,) = taken_over(tmp_path)
    assert everything(again) == ([b"a", b"b"], 0)
    again.close()


def test_a_living_process_keeps_its_spool(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kodify.journal.spool import Spool;"
        f"spool = Spool(Path({str(tmp_path)!r}), 1 << 20, b''); spool.open(); spool.append(b'mine');"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert taken_over(tmp_path) == []
        process.kill()
        process.wait()
    (abandoned,) = taken_over(tmp_path)
    assert everything(abandoned) == ([b"mine"], 0)
    abandoned.close()


def test_a_clean_end_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20, HEAD)
    spool.open()
    spool.append(b"a")
    everything(spool)
    spool.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 5, 11, 12, 13, 20])
def test_half_a_frame_at_the_end_costs_only_itself(tmp_path: Path, cut: int) -> None:
    folder = left_by_a_crash(tmp_path, [b"whole", b"also whole", b"the last one!"])
    path = next(folder.glob("*.spool"))
    os.truncate(path, path.stat().st_size - cut)
    (abandoned,) = taken_over(tmp_path)
    rows, damaged = everything(abandoned)
    assert rows == [b"whole", b"also whole"]
    assert damaged == 12 + 13 - cut
    abandoned.close()


@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=12),
    start=st.integers(0, 4_000),
    garbage=st.binary(min_size=1, max_size=300),
    chunk=st.integers(20, 1_000),
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_damage_in_the_midst_costs_what_it_touches(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], start: int, garbage: bytes, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    rows = [b"%04d" % number + bytes([number]) * size for number, size in enumerate(sizes)]
    left = left_by_a_crash(folder, rows)
    path = next(left.glob("*.spool"))
    data = bytearray(path.read_bytes())
    begin = min(start, len(data) - 1)
    garbage = garbage[: len(data) - begin]
    data[begin : begin + len(garbage)] = garbage
    path.write_bytes(data)
    touched, position = set(), 12 + len(HEAD)
    for number, row in enumerate(rows):
        end = position + 12 + len(row)
        if position < begin + len(garbage) and begin < end:
            touched.add(number)
        position = end
    before, spools.READ_BYTES = spools.READ_BYTES, chunk
    try:
        (abandoned,) = taken_over(folder)
        found, _ = everything(abandoned)
        abandoned.close()
    finally:
        spools.READ_BYTES = before
    for number, row in enumerate(rows):
        assert (row in found) or number in touched
    assert all(row in rows for row in found)
