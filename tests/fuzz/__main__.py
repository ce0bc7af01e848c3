"""The long run: `python -m tests.fuzz` sends mutated bodies and cases of the OpenAPI document to a running nano model,
and tells the answers' statuses and the server's memory."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import aiohttp

from tests.fuzz import cases, mutations
from tests.fuzz.answers import complaint
from tests.integration.conftest import Process, start_kodify

GROWTH = 0.10
WARM_UP = 2_000
SHOWN = 20
MOST_LOG_LINES = 50  # the start-up's and a few: what anybody sends must not fill a disk
TENTHS = 10
# A body may forget its limit: an answer is short all the same.
SHORT = """--override-generation-config '{"max_new_tokens": 4}' --max-num-seqs 64"""


class Tally:
    """Of a run: the statuses, and what was wrong."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []

    def take(self, what: str, status: int, wrong: str | None) -> None:
        self.statuses[str(status)] += 1
        if wrong is not None or status >= 500:
            self.wrong.append(f"{what}: {wrong or status}")

    @property
    def count(self) -> int:
        return sum(self.statuses.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--cases", type=int, default=10_000, help="of the OpenAPI document")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other bodies and cases")
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        process = start_kodify(Path(name), ADDITIONAL_ARGS=SHORT, COMPLETION_DEADLINE_S="2")
        try:
            process.wait_until_healthy()
            return run(process, arguments)
        finally:
            process.stop()


def run(process: Process, arguments: argparse.Namespace) -> int:
    random = Random(arguments.seed)
    asyncio.run(send_bodies(process.url, endless(random), WARM_UP, arguments.connections, Tally()))
    cases.run(process.url, min(arguments.cases, 500), lambda *_: None)
    before = process.resident_bytes()
    tell_memory(process, "before")
    bodies, documented = Tally(), Tally()
    started = time.monotonic()
    for share in range(TENTHS):
        count = arguments.bodies * (share + 1) // TENTHS - arguments.bodies * share // TENTHS
        asyncio.run(send_bodies(process.url, endless(random), count, arguments.connections, bodies))
        tell_memory(process, f"after {bodies.count} bodies")
    report("mutated bodies", bodies, time.monotonic() - started)
    started = time.monotonic()
    cases.run(process.url, arguments.cases, documented.take, begin_at=arguments.seed)
    report("cases of the document", documented, time.monotonic() - started)
    after = process.resident_bytes()
    tell_memory(process, "after all")
    log = process.log.read_text(errors="replace")
    bugs, lines = log.count("a bug"), log.count("\n")
    growth = after / before - 1
    print(f"memory: {before >> 20} MiB before, {after >> 20} MiB after: {growth:+.1%}")
    print(f"the log: {lines} lines, {bugs} bugs")
    lived = process.popen.poll() is None
    process.wait_until_healthy()
    return int(bool(bodies.wrong or documented.wrong or bugs or lines > MOST_LOG_LINES or growth > GROWTH or not lived))


def tell_memory(process: Process, when: str) -> None:
    """Of each process; only what the whole family has is judged."""
    sizes = (f"{one.name()} {one.memory_full_info().pss >> 20}" for one in process.family())
    print(f"{when}, MiB: {', '.join(sizes)}", flush=True)


def endless(random: Random) -> Iterator[mutations.Request]:
    while True:
        yield from mutations.requests(random)


async def send_bodies(
    url: str, requests: Iterator[mutations.Request], count: int, connections: int, tally: Tally
) -> None:
    left = count

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            path, body, kind = next(requests)
            headers = mutations.PAGE | ({"content-type": kind} if kind else {})
            try:
                async with session.post(url + path, data=body, headers=headers) as answer:
                    data = await answer.read()
                    media = answer.headers.get("content-type", "")
                    wrong = complaint(answer.status, media, data)
                    if answer.status >= 500:  # of those that may be, none is asked for here
                        wrong = wrong or f"{answer.status}: {data[:300]!r}"
                    tally.take(f"POST {path} {body[:500]!r}", answer.status, wrong)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                tally.take(f"POST {path} {body[:500]!r}", cases.NO_ANSWER, repr(error))

    limits = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(cases.TIMEOUT_S)) as session:
        await asyncio.gather(*(work(session) for _ in range(connections)))


def report(what: str, tally: Tally, seconds: float) -> None:
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(tally.statuses.items()))
    print(f"{tally.count} {what} in {seconds:.0f} s: {statuses}; wrong: {len(tally.wrong)}", flush=True)
    for one in tally.wrong[:SHOWN]:
        print(f"  {one[:1500]}")


if __name__ == "__main__":
    sys.exit(main())
