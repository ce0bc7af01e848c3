"""Owns the bar of fair shares: `python -m bench.fair` lets one user send 500 requests at once, and times another's.

Kodify runs over the engine double at the pace of a GPU. Two addresses of this machine are the two users.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time

from bench.connection import Connection
from bench.gates import tell_bars
from bench.lone import lone_kodify
from bench.rows import MODEL_NAME

PORT = 18_730
HEAVY, LIGHT = "127.0.0.1", "127.0.0.2"
STEP_MS, PREFILL_US_PER_TOKEN = 10.0, 20.0
MOST_RATIO = 3.0
PAUSE_S = 0.05  # between two requests of the light user, who reads


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.fair", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--requests", type=int, default=500, help="the heavy user's, at once, each sent again")
    parser.add_argument("--prompt-words", type=int, default=150, help="of each request of the heavy user")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each of the two measurements")
    return parser.parse_args()


def make_request(name: str, words: int, max_tokens: int) -> bytes:
    text = " ".join(f"{name}{number}" for number in range(words))
    body = json.dumps(
        {
            "model": MODEL_NAME,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "stream": True,
            "ignore_eos": True,
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def connect(address: str) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", PORT, local_addr=(address, 0))
    return connection


async def press(number: int, words: int, statuses: list[int]) -> None:
    """One of the heavy user's clients, until it is cancelled."""
    connection = await connect(HEAVY)
    try:
        for turn in range(1_000_000):
            await connection.ask(make_request(f"h{number}x{turn}y", words, 128), streamed=True)
            statuses.append(connection.status)
            if connection.status != 200:
                await asyncio.sleep(1)
    finally:
        connection.close()


async def time_light(name: str, seconds: float) -> list[float]:
    """Milliseconds to the first token of each of the light user's requests, one after the other."""
    connection = await connect(LIGHT)
    found: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await connection.ask(make_request(f"{name}{len(found)}z", 100, 8), streamed=True)
        if connection.status != 200:
            raise RuntimeError(connection.received.decode("utf-8", "replace"))
        found.append((connection.timing.first_at - connection.timing.sent_at) * 1e3)
        await asyncio.sleep(PAUSE_S)
    connection.close()
    return found


async def measure(arguments: argparse.Namespace) -> bool:
    await time_light("warm", 2.0)
    alone = await time_light("alone", arguments.seconds)
    statuses: list[int] = []
    tasks = [asyncio.create_task(press(n, arguments.prompt_words, statuses)) for n in range(arguments.requests)]
    await asyncio.sleep(3)
    beside = await time_light("beside", arguments.seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    p50s, p95s = (
        [statistics.median(found) for found in (alone, beside)],
        [sorted(found)[int(len(found) * 0.95)] for found in (alone, beside)],
    )
    refused = sum(status != 200 for status in statuses)
    print(f"alone:  TTFT p50 {p50s[0]:.1f} ms, p95 {p95s[0]:.1f} ms, {len(alone)} requests")
    print(f"beside: TTFT p50 {p50s[1]:.1f} ms, p95 {p95s[1]:.1f} ms, {len(beside)} requests")
    print(f"the heavy user had {len(statuses) - refused} answers and {refused} refusals meanwhile")
    ratios = {"p50": p50s[1] / p50s[0], "p95": p95s[1] / p95s[0]}
    return tell_bars(
        {
            f"TTFT {name} beside a heavy user: {ratio:.2f} times, at most {MOST_RATIO:g}": ratio <= MOST_RATIO
            for name, ratio in ratios.items()
        }
    )


def main() -> int:
    arguments = parse_arguments()
    with lone_kodify("fair", PORT, step_ms=STEP_MS, prefill_us_per_token=PREFILL_US_PER_TOKEN):
        return 0 if asyncio.run(measure(arguments)) else 1


if __name__ == "__main__":
    sys.exit(main())
