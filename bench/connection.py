"""Owns one HTTP connection of the load client: raw bytes in, times and event counts out."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

EVENT_MARK = b"\ndata: {"
CHUNKS_END = b"\r\n0\r\n\r\n"
HEAD_END = b"\r\n\r\n"
TAIL_BYTES = 512


@dataclass
class Timing:
    """One answer as it arrives; times in seconds of the performance counter."""

    sent_at: float
    first_at: float = 0.0
    last_at: float = 0.0
    events: int = 0
    gaps: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[float] | None = None
        self._streamed = False
        self._received = b""
        self.status = 0
        self.timing = Timing(0.0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the connection closed before the answer ended: {exc}"))

    def ask(self, request: bytes, streamed: bool) -> "asyncio.Future[float]":
        """Send a request; the future gives the time at which its answer had arrived whole."""
        self._received, self._streamed, self.status = b"", streamed, 0
        self._answer = asyncio.get_running_loop().create_future()
        self.timing = Timing(time.perf_counter())
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self._transport.close()

    @property
    def received(self) -> bytes:
        """The whole answer, or of a good streamed one its last bytes."""
        return self._received

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self.status:
            self.status = int(data[9:12])
        if self._streamed and self.status == 200:
            self._take_stream(data, now)
        else:
            self._take_whole(data, now)

    def _take_stream(self, data: bytes, now: float) -> None:
        timing = self.timing
        arrived = (self._received[1 - len(EVENT_MARK) :] + data).count(EVENT_MARK)
        if arrived:
            if timing.events:
                timing.gaps.append(now - timing.last_at)
            else:
                timing.first_at = now
            timing.last_at = now
            timing.events += arrived
        self._received = (self._received + data)[-TAIL_BYTES:]
        if self._received.endswith(CHUNKS_END):
            self._finish(now)

    def _take_whole(self, data: bytes, now: float) -> None:
        self._received += data
        head, found, body = self._received.partition(HEAD_END)
        if not found:
            return
        length = _content_length(head)
        if len(body) >= length if length is not None else self._received.endswith(CHUNKS_END):
            self.timing.first_at = now
            self._finish(now)

    def _finish(self, now: float) -> None:
        assert self._answer is not None
        if not self._answer.done():
            self._answer.set_result(now)


def _content_length(head: bytes) -> int | None:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return None
