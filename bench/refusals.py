"""Owns the bar of early refusals: `python -m bench.refusals` fills an engine and its line, and times the 503s.

Kodify runs over the engine double at the pace of a GPU. The clock runs from the request's first byte to the answer's
last.
"""

import argparse
import asyncio
import statistics
import sys

from bench.connection import Connection
from bench.fair import HEAVY, STEP_MS, connect, make_request
from bench.gates import tell_bars
from bench.lone import lone_kodify

PORT = 18_730  # that `connect` goes to
WORST_MS = 10.0
PAUSE_S = 0.02
LONG_TOKENS = 1900
LINE = 64


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.refusals", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--streams", type=int, default=64, help="that the engine makes meanwhile")
    parser.add_argument("--requests", type=int, default=300, help="that are refused, one after the other")
    return parser.parse_args()


async def hold(number: int) -> Connection:
    """A long answer on its way, or in line."""
    connection = await connect(HEAVY)
    answer = connection.ask(make_request(f"held{number}x", 20, LONG_TOKENS), streamed=True)
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())
    return connection


async def measure(arguments: argparse.Namespace) -> bool:
    held = [await hold(number) for number in range(arguments.streams + LINE)]
    await asyncio.sleep(2)
    probe = await connect(HEAVY)
    times_ms: list[float] = []
    for number in range(arguments.requests):
        ended_at = await probe.ask(make_request(f"probe{number}x", 20, 4), streamed=True)
        if probe.status != 503 or b"retry-after" not in probe.received.lower():
            raise RuntimeError(f"not refused: {probe.received.decode('utf-8', 'replace')}")
        times_ms.append((ended_at - probe.timing.sent_at) * 1e3)
        await asyncio.sleep(PAUSE_S)
    running = sum(connection.status == 200 for connection in held)
    for connection in (*held, probe):
        connection.close()
    p50, p99 = statistics.median(times_ms), sorted(times_ms)[int(len(times_ms) * 0.99)]
    print(f"{running} streams beside; 503 after p50 {p50:.2f} ms, p99 {p99:.2f} ms, at most {max(times_ms):.2f} ms")
    return tell_bars({f"a 503 with Retry-After within {WORST_MS:g} ms (p99)": p99 < WORST_MS})


def main() -> int:
    arguments = parse_arguments()
    most = f"--max-num-seqs {arguments.streams}"
    with lone_kodify("refusals", PORT, step_ms=STEP_MS, MAX_WAITING_REQUESTS=str(LINE), ADDITIONAL_ARGS=most):
        return 0 if asyncio.run(measure(arguments)) else 1


if __name__ == "__main__":
    sys.exit(main())
