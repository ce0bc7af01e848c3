"""The reader: processes of its own in which documents are read and cut, each document with little memory and time.

What parsers do with a hostile document (gigabytes, minutes, a crash, the interpreter's lock held) happens there.
A process is started when one is needed, goes on to the next document, and is replaced after one that broke it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import orjson

from kodify.retrieval.base import PassingSkipError, Piece, SkippedError
from kodify.retrieval.reader_process import OUT_OF_MEMORY, Limits, receive, send
from kodify.retrieval.reading import Document, kind_of, refusal
from kodify.retrieval.syntax import GRAMMARS

AT_ONCE = 2
GOING_S = 10
TRIES = 3  # of processes that had gone before they were asked
_KEPT_VARIABLES = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "TMPDIR",
    "VIRTUAL_ENV",
)
# Not `-m`: that would import what lies in the working directory, which may be the very folder that is read.
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); import kodify; sys.path.pop(0); "
    "from kodify.retrieval.reader_process import main; main()"
)
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class _GoneError(Exception):
    """The process has ended. `code`: as subprocess has it."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.was_ended = code == 0 or -code in _FROM_OUTSIDE

    def told(self) -> SkippedError:
        """Where another process or the machine may have a part in it, the next run tries again."""
        if -self.code == signal.SIGXCPU:
            return SkippedError("it takes too long to read: it is broken or hostile")
        if self.was_ended:
            return PassingSkipError("its reader was ended; the next run tries again")
        if self.code in (OUT_OF_MEMORY, -signal.SIGABRT):
            return PassingSkipError("it takes too much memory to read; the next run tries again")
        return PassingSkipError(f"its reader broke ({self.code}); the next run tries again")


class Reader:
    def __init__(self, limits: Limits | None = None) -> None:
        """Nothing is started before it is needed."""
        self._limits = limits or Limits()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="reader")
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._lock = Lock()
        self._is_closed = False

    async def read(self, path: str, data: bytes, most: int) -> Document:
        """`most`: characters of a piece. Raises SkippedError."""
        if (reason := refusal(path, len(data))) is not None:
            raise SkippedError(reason)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, path, data, most)

    def close(self) -> None:
        """What is being read is broken off."""
        with self._lock:
            self._is_closed = True
            found = list(self._all)
            idle, self._idle = self._idle, []
        for process in found:
            process.kill()  # whoever waits for its answer hears the end, and buries it
        for process in idle:
            self._drop(process)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self, path: str, data: bytes, most: int) -> Document:
        try:
            return self._asked(path, data, most, False)
        except _GoneError as gone:
            if gone.was_ended or self._is_closed or kind_of(path, data) not in GRAMMARS:
                raise gone.told() from None
        try:  # what a grammar is at a loss with may be a text all the same
            return self._asked(path, data, most, True)
        except _GoneError as gone:
            raise gone.told() from None

    def _asked(self, path: str, data: bytes, most: int, plainly: bool) -> Document:
        for left in reversed(range(TRIES)):
            process = self._process()
            try:
                answer = process.ask(path, data, most, plainly)
            except TimeoutError:
                process.kill()
                self._drop(process)
                raise PassingSkipError(f"not read within {self._limits.wait_s} s; the next run tries again") from None
            except (EOFError, OSError):
                code = self._drop(process)
                if code == 0 and left:  # it had nothing to do for long, or had grown
                    continue
                raise _GoneError(code) from None
            except BaseException:
                process.kill()
                self._drop(process)
                raise
            self._rest(process)
            return _document(answer)
        raise AssertionError

    def _process(self) -> _Process:
        with self._lock:
            if self._is_closed:
                raise PassingSkipError("the reader is closed")
            if self._idle:
                return self._idle.pop()
            try:
                process = _Process(self._limits)
            except OSError as error:
                raise PassingSkipError(
                    f"no reader can be started: {error.strerror}; the next run tries again"
                ) from None
            self._all.add(process)
            return process

    def _rest(self, process: _Process) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(process)
                return
        self._drop(process)

    def _drop(self, process: _Process) -> int:
        with self._lock:
            self._all.discard(process)
        return process.end()


class _Process:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._socket, theirs = socket.socketpair()
        root = str(Path(__file__).parents[2])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, root, *limits.arguments(), str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                process_group=0,  # a Ctrl+C in the terminal is not for it
            )
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()

    def ask(self, path: str, data: bytes, most: int, plainly: bool) -> bytes:
        """Raises TimeoutError; EOFError or OSError where it has ended."""
        ends_at = time.monotonic() + self._limits.wait_s
        head = orjson.dumps([path.encode("utf-8", "replace").decode(), most, plainly])
        send(self._socket, head, ends_at)
        send(self._socket, data, ends_at)
        return receive(self._socket, ends_at)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        """Its exit code. It goes by itself when its socket is closed, or has gone; one that is stuck is killed."""
        self._socket.close()
        try:
            return self._process.wait(GOING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _document(answer: bytes) -> Document:
    """Line by line: one call for megabytes would hold the interpreter. Raises SkippedError."""
    lines = answer.split(b"\n")
    head = orjson.loads(lines[0])
    if "skipped" in head:
        raise SkippedError(head["skipped"])
    return Document(head["language"], tuple(Piece(*orjson.loads(line)) for line in lines[1:]))
