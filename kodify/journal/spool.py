"""An append-only file between an answer and the database: what is in it outlives the process.

Each process has a folder of its own, with a lock that the kernel lets go of when the process ends, however it ends.
A folder whose lock is free was left behind, and whoever finds it takes it over.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from zlib import crc32

from kodify.errors import ConfigError

log = logging.getLogger(__name__)

SEGMENT_BYTES = 8 * 1024 * 1024
READ_BYTES = 1024 * 1024
LOCK = "lock"

_FRAME = struct.Struct(">4sII")  # mark, length and CRC-32 of what follows
ROW, CONFIG = b"KJr1", b"KJc1"  # a row in binary COPY form; the configuration of the rows after it


class SpoolFull(Exception):
    pass


@dataclass(eq=False, slots=True)
class Segment:
    """One file: read up to `position`, written up to `size`."""

    path: Path
    descriptor: int
    size: int
    start: int = 0  # where the first row stands
    position: int = 0

    @property
    def consumed(self) -> bool:
        return self.position >= self.size


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows in the order in which they came, all of one segment; `end` is where the next one begins."""

    segment: Segment
    rows: list[bytes]
    end: int
    configs: list[bytes]
    damaged: int  # bytes that are no frame


class Spool:
    """Not for several threads: whoever appends and whoever reads live on one event loop."""

    def __init__(self, folder: Path, limit_bytes: int, head: bytes) -> None:
        """`folder`: of every process's spool. `head`: the configuration, which each segment begins with."""
        self._parent = folder
        self._limit = limit_bytes
        self._head = _framed(CONFIG, head)
        self._folder = folder
        self._lock = -1
        self._segments: deque[Segment] = deque()
        self._number = 0
        self.waiting = 0  # rows of this process
        self.size = 0  # bytes of its segments
        self.foreign_size = 0  # bytes of those taken over, which count too

    def open(self) -> None:
        """Raises ConfigError where the folder can't hold a spool."""
        self._folder = self._parent / f"{os.getpid()}-{token_hex(4)}"
        making = self._parent / f".{self._folder.name}"
        try:
            self._parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            making.mkdir(mode=0o700)
            lock = _lock(making / LOCK)
            assert lock is not None
            self._lock = lock
            making.rename(self._folder)  # others see it locked, or not at all
            self._begin_segment()
        except OSError as error:
            raise ConfigError(f"DATA_PATH: {self._parent} can't hold the journal's spool: {error.strerror}.") from None

    def append(self, *rows: bytes) -> None:
        """Returns when the kernel has them, in one write. Raises SpoolFull, or OSError where the disk does not take
        them; then it has none of them."""
        frame = b"".join([_framed(ROW, row) for row in rows])
        # What was taken over may be as large as the limit: a quarter is always there for what comes.
        if self.size + min(self.foreign_size, self._limit * 3 // 4) + len(frame) > self._limit:
            raise SpoolFull
        if not self._segments:
            raise OSError(9, "the journal has ended")
        segment = self._segments[-1]
        if segment.size >= SEGMENT_BYTES:
            segment = self._begin_segment()
        self._write(segment, frame)
        self.waiting += len(rows)

    def next_batch(self, most_rows: int) -> Batch | None:
        """What has not been read; `done` tells that it is safe elsewhere."""
        while len(self._segments) > 1 and self._segments[0].consumed:
            self._drop(self._segments.popleft())
        segment = self._segments[0]
        if segment.consumed:
            self.waiting = 0  # whatever was counted: somebody may have cut the file
            return None
        return read(segment, most_rows)

    def done(self, batch: Batch) -> None:
        segment = batch.segment
        segment.position = batch.end
        self.waiting -= len(batch.rows)
        if segment.consumed and len(self._segments) == 1:
            with contextlib.suppress(OSError):  # an empty spool is a short file
                os.ftruncate(segment.descriptor, segment.start)
                self.size -= segment.size - segment.start
                segment.position = segment.size = segment.start

    def sync(self) -> None:
        """Blocks until the disk has what was written."""
        for segment in list(self._segments):
            with contextlib.suppress(OSError):
                os.fsync(segment.descriptor)

    def close(self) -> None:
        """What has not been read stays for the next process."""
        if self._lock < 0:
            return
        for segment in self._segments:
            if segment.consumed:
                segment.path.unlink(missing_ok=True)
            os.close(segment.descriptor)
        _leave(self._folder, self._lock)
        self._lock = -1
        self._segments.clear()

    def left_behind(self) -> Iterator[Abandoned]:
        """The spools of processes that are no more; each is the caller's to read and to finish."""
        for folder in sorted(self._parent.iterdir()):
            if folder == self._folder or folder.name.startswith(".") or not (folder / LOCK).is_file():
                continue
            try:
                lock = _lock(folder / LOCK)
            except OSError:
                continue
            if lock is None:
                continue
            try:
                abandoned = Abandoned(folder, lock)
            except OSError as error:
                log.warning("the spool %s that was left behind can't be read: %s", folder, error.strerror)
                continue
            yield abandoned

    def _begin_segment(self) -> Segment:
        self._number += 1
        path = self._folder / f"{self._number:06}.spool"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        segment = Segment(path, descriptor, 0)
        try:
            self._write(segment, self._head)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        segment.start = segment.position = segment.size
        self._segments.append(segment)
        return segment

    def _write(self, segment: Segment, frame: bytes) -> None:
        written = os.write(segment.descriptor, frame)
        if written != len(frame):  # the disk is full: half a frame must not stay
            os.ftruncate(segment.descriptor, segment.size)
            raise OSError(28, "No space left on device")
        segment.size += written
        self.size += written

    def _drop(self, segment: Segment) -> None:
        os.close(segment.descriptor)
        segment.path.unlink(missing_ok=True)
        self.size -= segment.size


class Abandoned:
    """Another process's spool, taken over."""

    def __init__(self, folder: Path, lock: int) -> None:
        """Raises OSError where it can't be read."""
        self.folder = folder
        self._lock = lock
        self._segments: deque[Segment] = deque()
        try:
            for path in sorted(folder.glob("*.spool")):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self._segments.append(Segment(path, descriptor, os.fstat(descriptor).st_size))
        except OSError:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Bytes that are still to be read."""
        return sum(segment.size - segment.position for segment in self._segments)

    def next_batch(self, most_rows: int) -> Batch | None:
        while self._segments and self._segments[0].consumed:
            segment = self._segments.popleft()
            os.close(segment.descriptor)
            segment.path.unlink(missing_ok=True)
        return read(self._segments[0], most_rows) if self._segments else None

    def done(self, batch: Batch) -> None:
        batch.segment.position = batch.end

    def close(self) -> None:
        for segment in self._segments:
            os.close(segment.descriptor)
        _leave(self.folder, self._lock)


def read(segment: Segment, most_rows: int) -> Batch:
    """Whole frames from the segment's position on. What is no frame (half of one, that a crash of the machine has
    left) is passed over up to the next that is."""
    rows: list[bytes] = []
    configs: list[bytes] = []
    damaged = 0
    start = segment.position
    data = os.pread(segment.descriptor, min(READ_BYTES, segment.size - start), start)
    at = 0
    if not data:  # somebody cut the file
        return Batch(segment, rows, segment.size, configs, segment.size - start)
    while len(rows) < most_rows:
        if len(data) - at >= _FRAME.size:
            mark, length, checksum = _FRAME.unpack_from(data, at)
            end = at + _FRAME.size + length
            sane = mark in (ROW, CONFIG) and start + end <= segment.size
            if sane and end > len(data):
                if rows or configs:
                    break  # the next read begins with it
                data = os.pread(segment.descriptor, end, start)
            payload = data[at + _FRAME.size : end]
            if sane and crc32(payload) == checksum:
                (rows if mark == ROW else configs).append(payload)
                at = end
                continue
        elif start + len(data) < segment.size and (rows or configs or damaged):
            break
        if at >= len(data):
            break
        rest = len(data) if start + len(data) >= segment.size else max(at + 1, len(data) - len(ROW) + 1)
        following = min((found for mark in (ROW, CONFIG) if (found := data.find(mark, at + 1)) > 0), default=rest)
        damaged += following - at
        at = following
    return Batch(segment, rows, start + at, configs, damaged)


def _framed(mark: bytes, payload: bytes) -> bytes:
    return _FRAME.pack(mark, len(payload), crc32(payload)) + payload


def _lock(path: Path) -> int | None:
    """The descriptor that holds the lock, None where another process does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _leave(folder: Path, lock: int) -> None:
    """Takes an empty folder away, and lets go of the lock."""
    if not any(folder.glob("*.spool")):
        (folder / LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
    os.close(lock)
