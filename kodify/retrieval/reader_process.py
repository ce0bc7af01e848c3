"""The reader's side in its own process: asked by the socket that is its standard input, until that is closed."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import resource
import signal
import socket
import sys
import time
import warnings
from dataclasses import astuple, dataclass

import orjson

from kodify.retrieval.base import SkippedError
from kodify.retrieval.reading import read

_LENGTH_BYTES = 8
_AT_ONCE = 1 << 20
_MOST_BYTES = 256 * 1024 * 1024  # said at once
_GROWN_BYTES = 256 * 1024 * 1024  # of memory at its peak: the next document begins in a new process
_PR_SET_PDEATHSIG = 1
OUT_OF_MEMORY = 75  # exit code


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one document: memory in all, seconds of a processor, seconds on the clock. `idle_s`: of the process."""

    memory_bytes: int = 1024 * 1024 * 1024
    cpu_s: int = 60
    wait_s: int = 150
    idle_s: int = 300

    def arguments(self) -> list[str]:
        return [str(value) for value in astuple(self)]


def main() -> None:
    *values, parent = (int(value) for value in sys.argv[2:])
    limits = Limits(*values)
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    logging.disable()
    asked = socket.socket(fileno=0)
    while True:
        try:
            head = receive(asked, time.monotonic() + limits.idle_s)
            data = receive(asked, math.inf)
        except (TimeoutError, EOFError, OSError):
            return
        _allow_seconds(limits.cpu_s)
        path, most, plainly = orjson.loads(head)
        try:
            answer = _answer(path, data, most, plainly)
        except MemoryError:
            sys.exit(OUT_OF_MEMORY)
        send(asked, answer, math.inf)
        if _peak_bytes() > _GROWN_BYTES:
            return


def _answer(path: str, data: bytes, most: int, plainly: bool) -> bytes:
    """A line of JSON that tells all but the pieces, and one for each piece."""
    try:
        document = read(path, data, most, plainly=plainly)
        lines = [orjson.dumps({"language": document.language})]
        lines += [orjson.dumps([piece.text, piece.start, piece.end, piece.title]) for piece in document.pieces]
        return b"\n".join(lines)
    except SkippedError as skipped:
        return orjson.dumps({"skipped": str(skipped)})
    except MemoryError:
        raise
    except Exception as error:
        return orjson.dumps({"skipped": f"it can't be read ({type(error).__name__})"})


def _peak_bytes() -> int:
    """Not getrusage's: that begins with the peak of the process that started this one, and a server has gigabytes."""
    with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - a path object for each document
        return next((int(line.split()[1]) * 1024 for line in status if line.startswith(b"VmHWM:")), 0)


def _allow_seconds(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _die_with(parent: int) -> None:
    """Also where another process has the socket's other end, by a fork."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(0)


def send(to: socket.socket, data: bytes, ends_at: float) -> None:
    """`ends_at`: on the monotonic clock. Raises TimeoutError."""
    for part in (len(data).to_bytes(_LENGTH_BYTES), data):
        to.settimeout(_left(ends_at))
        to.sendall(part)


def receive(of: socket.socket, ends_at: float) -> bytes:
    """Raises TimeoutError, EOFError."""
    length = int.from_bytes(_received(of, _LENGTH_BYTES, ends_at))
    if length > _MOST_BYTES:
        raise EOFError
    return _received(of, length, ends_at)


def _received(of: socket.socket, length: int, ends_at: float) -> bytes:
    parts: list[bytes] = []
    missing = length
    while missing:
        of.settimeout(_left(ends_at))
        part = of.recv(min(missing, _AT_ONCE))
        if not part:
            raise EOFError
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _left(ends_at: float) -> float | None:
    """Of a socket's timeout; 0 would mean not to wait at all."""
    return None if math.isinf(ends_at) else max(0.001, ends_at - time.monotonic())
