"""Owns the load: a closed-loop HTTP client that costs little CPU and times every event on the wire.

Run as a process of its own (`python -m bench.load`): a `Burst` as JSON on standard input, an `Outcome` as JSON on
standard output. Each connection sends its next request when its last answer has ended.
"""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from bench.connection import Connection, Timing

FAILURE_CHARS = 400
COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')


@dataclass(frozen=True)
class Burst:
    """What to send: `bodies` in turn, at most `concurrency` of them at once, none later than `limit_s`."""

    port: int
    path: str
    bodies: list[dict[str, Any]]
    concurrency: int
    streamed: bool
    api_key: str
    cores: list[int]
    limit_s: float


@dataclass(frozen=True)
class Percentiles:
    p50: float
    p99: float


@dataclass(frozen=True)
class Outcome:
    """What came back. Failures count answers that were refused, cut short or never sent in time."""

    wall_s: float
    client_cpu_s: float
    answers: int
    failures: int
    first_failure: str | None
    tokens: int
    events: int
    ttft_ms: Percentiles
    itl_ms: Percentiles
    latency_ms: Percentiles


class Client:
    """Sends one burst and adds up its outcome."""

    def __init__(self, burst: Burst) -> None:
        self._burst = burst
        self._queue: Iterator[dict[str, Any]] = iter(burst.bodies)
        self._ttft: list[float] = []
        self._latency: list[float] = []
        self._gaps: list[float] = []
        self._tokens = self._events = self._failures = 0
        self._first_failure: str | None = None

    async def run(self) -> Outcome:
        began_at, cpu_began_at = time.perf_counter(), time.process_time()
        try:
            async with asyncio.timeout(self._burst.limit_s):
                await asyncio.gather(*(self._work() for _ in range(self._burst.concurrency)))
        except TimeoutError:
            unanswered = len(self._burst.bodies) - len(self._latency) - self._failures
            self._fail(f"{unanswered} answers were not there after {self._burst.limit_s} s", unanswered)
        return Outcome(
            wall_s=time.perf_counter() - began_at,
            client_cpu_s=time.process_time() - cpu_began_at,
            answers=len(self._latency),
            failures=self._failures,
            first_failure=self._first_failure,
            tokens=self._tokens,
            events=self._events,
            ttft_ms=_percentiles_ms(self._ttft),
            itl_ms=_percentiles_ms(self._gaps),
            latency_ms=_percentiles_ms(self._latency),
        )

    async def _work(self) -> None:
        connection: Connection | None = None
        for body in self._queue:
            try:
                connection = connection or await self._connect()
                ended_at = await connection.ask(_encode_request(self._burst, body), self._burst.streamed)
            except OSError as error:
                self._fail(str(error))
                connection = None
                continue
            if _is_complete(connection, self._burst.streamed, body["max_tokens"]):
                self._count(connection.timing, ended_at, body["max_tokens"])
            else:
                self._fail(connection.received[-FAILURE_CHARS:].decode("utf-8", "replace"))
        if connection is not None:
            connection.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._burst.port)
        return connection

    def _count(self, timing: Timing, ended_at: float, tokens: int) -> None:
        self._ttft.append(timing.first_at - timing.sent_at)
        self._latency.append(ended_at - timing.sent_at)
        self._gaps.extend(timing.gaps)
        self._tokens += tokens
        self._events += timing.events

    def _fail(self, reason: str, count: int = 1) -> None:
        self._failures += count
        self._first_failure = self._first_failure or reason


def _encode_request(burst: Burst, body: dict[str, Any]) -> bytes:
    content = json.dumps(body, ensure_ascii=False).encode()
    head = (
        f"POST {burst.path} HTTP/1.1\r\nHost: 127.0.0.1:{burst.port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {burst.api_key}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _is_complete(connection: Connection, streamed: bool, max_tokens: int) -> bool:
    """Tell whether an answer is all that was asked for: every request asks for exactly `max_tokens`."""
    if connection.status != 200:
        return False
    if streamed:
        return b"[DONE]" in connection.received and b'"length"' in connection.received
    counted = COMPLETION_TOKENS.search(connection.received)
    return counted is not None and int(counted[1]) == max_tokens


def _percentiles_ms(times_s: list[float]) -> Percentiles:
    if not times_s:
        return Percentiles(0.0, 0.0)
    ordered = sorted(times_s)
    p50, p99 = (ordered[round(share * (len(ordered) - 1))] * 1e3 for share in (0.50, 0.99))
    return Percentiles(p50=p50, p99=p99)


def decode_outcome(text: str) -> Outcome:
    fields = json.loads(text)
    for name in ("ttft_ms", "itl_ms", "latency_ms"):
        fields[name] = Percentiles(**fields[name])
    return Outcome(**fields)


def main() -> None:
    burst = Burst(**json.load(sys.stdin))
    os.sched_setaffinity(0, burst.cores)
    print(json.dumps(asdict(uvloop.run(Client(burst).run()))))


if __name__ == "__main__":
    main()
