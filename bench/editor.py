"""Owns two bars of editors' completions: `python -m bench.editor` asks again what was asked, and sends a file of 10 MB.

Kodify runs over the engine double, which needs no time for a step, so that what is measured is Kodify's own.
"""

import argparse
import asyncio
import json
import statistics
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from bench.connection import Connection
from bench.gates import tell_bars
from bench.lone import lone_kodify
from bench.rows import REPOSITORY

PORT = 18_710
REPEAT_MS, LARGE_MS = 2.0, 50.0
LARGE_BYTES = 10_000_000
HOT = 0.8  # a temperature whose answers are never given again
SEEN = 2600  # characters, about a thousand tokens with the suffix


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.editor", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--large", type=int, default=20, help="files of 10 MB, each beside a small one")
    return parser.parse_args()


def make_body(prefix: str, suffix: str, **fields: Any) -> bytes:
    segments = {"prefix": prefix, "suffix": suffix, "filepath": "bench.py"}
    return json.dumps({"language": "python", "segments": segments, **fields}).encode()


async def ask(connection: Connection, body: bytes) -> float:
    """Milliseconds until the answer is there whole."""
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    began_at = time.perf_counter()
    ended_at = await connection.ask(head.encode() + body, streamed=False)
    if connection.status != 200:
        raise RuntimeError(connection.received.decode("utf-8", "replace"))
    return (ended_at - began_at) * 1e3


async def measure(port: int, text: str, arguments: argparse.Namespace) -> bool:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    middle = len(text) // 2
    small = make_body(text[middle - SEEN : middle], text[middle : middle + SEEN // 2])
    first_ms = await ask(connection, small)
    repeats_ms = [await ask(connection, small) for _ in range(arguments.repeats)]
    p50, p99 = statistics.median(repeats_ms), sorted(repeats_ms)[int(len(repeats_ms) * 0.99)]
    large_text = text * (LARGE_BYTES // len(text) + 1)
    prefix = large_text[-LARGE_BYTES:]
    large, cut = make_body(prefix, "\n", temperature=HOT), make_body(prefix[-20_000:], "\n", temperature=HOT)
    pairs = [(await ask(connection, large), await ask(connection, cut)) for _ in range(arguments.large + 1)][1:]
    beyond_ms = statistics.median(one - other for one, other in pairs)
    connection.close()
    print(f"the first answer took {first_ms:.2f} ms; a file of 10 MB {statistics.median(a for a, _ in pairs):.1f} ms")
    bars = {
        f"a repeat, in all: p50 {p50:.2f} ms, p99 {p99:.2f} ms, at most {REPEAT_MS:g}": p50 <= REPEAT_MS,
        f"a prefix of 10 MB beyond one of 20 kB: {beyond_ms:.1f} ms, less than {LARGE_MS:g}": beyond_ms < LARGE_MS,
    }
    return tell_bars(bars)


def main() -> int:
    arguments = parse_arguments()
    text = Path(sysconfig.get_path("stdlib"), "argparse.py").read_text(encoding="utf-8")
    preset = REPOSITORY / "preprocess_configs" / "qwen.json"
    with lone_kodify("editor", PORT, COMPLETIONS_PREPROCESSING_CONFIG=str(preset)):
        return 0 if asyncio.run(measure(PORT, text, arguments)) else 1


if __name__ == "__main__":
    sys.exit(main())
