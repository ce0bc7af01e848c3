"""Owns the bar of hostile clients: `python -m bench.hostile` asks again and again, alone and then beside a crowd.

The crowd sends its requests a byte a second, or never reads its answers. While those are made they load the engine as
anybody's would ("asking"); then they are only held ("crowded"). The bar is met by what is crowded, and by all of the
crowd's stay from its first moment on ("stay"). Kodify runs over the engine double.
"""

import argparse
import asyncio
import json
import re
import socket
import statistics
import sys
import time
import urllib.request
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from bench.connection import Connection
from bench.gates import tell_bars
from bench.lone import lone_kodify
from bench.measure import read_memory
from bench.rows import MODEL_NAME

PORT = 18_720
WORST_RATIO = 1.5
STEP_MS = 10.0
PAUSE_S = 0.1
BYTE_EVERY_S = 1.0
PROBE_TOKENS, STUCK_TOKENS = 4, 1900
NARROW_BYTES = 4096  # of a socket that is not read: what the kernel takes in for it
SLOW_HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
CUT = re.compile(r'^kodify_connections_cut_total\{reason="(\w+)"\} (\S+)$', re.M)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long the crowd stays")
    parser.add_argument("--slow", type=int, default=500, help="connections that send a byte a second")
    parser.add_argument("--stuck", type=int, default=200, help="streams that are never read")
    return parser.parse_args()


def make_request(max_tokens: int) -> bytes:
    fields = {"model": MODEL_NAME, "prompt": "def main():", "stream": True, "max_tokens": max_tokens}
    body = json.dumps({**fields, "ignore_eos": True}).encode()
    return b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def send_slowly(port: int) -> None:
    """Comes back whenever it is cut."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(SLOW_HEAD)
            while not writer.is_closing():
                await asyncio.sleep(BYTE_EVERY_S)
                writer.write(b"x")
                await writer.drain()
        await asyncio.sleep(BYTE_EVERY_S)


async def never_read(port: int) -> None:
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
        narrow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(narrow, ("127.0.0.1", port))
        await loop.sock_sendall(narrow, make_request(STUCK_TOKENS))
        await asyncio.Event().wait()


async def probe(port: int, seconds: float) -> list[float]:
    """Milliseconds to the first token, of one request after the other."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    request, found = make_request(PROBE_TOKENS), []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await connection.ask(request, streamed=True)
        if connection.status != 200:
            raise RuntimeError(connection.received.decode("utf-8", "replace"))
        found.append((connection.timing.first_at - connection.timing.sent_at) * 1e3)
        await asyncio.sleep(PAUSE_S)
    connection.close()
    return found


def read_cut(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return {reason: int(float(count)) for reason, count in CUT.findall(answer.read().decode())}


def read_running(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=60) as answer:
        return int(json.load(answer)["running"])


def tell(name: str, found: list[float], pid: int) -> float:
    p50, p99 = statistics.median(found), sorted(found)[int(len(found) * 0.99)]
    memory = read_memory([pid]).rss_mib
    print(f"{name:<7} TTFT p50 {p50:.2f} ms, p99 {p99:.2f} ms, {len(found)} requests; {memory:.0f} MiB resident")
    return p50


async def measure(port: int, pid: int, arguments: argparse.Namespace) -> bool:
    await probe(port, 2)  # warm
    before = await probe(port, arguments.seconds / 2)
    tell("before", before, pid)
    crowd: list[Coroutine[Any, Any, None]] = [send_slowly(port) for _ in range(arguments.slow)]
    crowd += [never_read(port) for _ in range(arguments.stuck)]
    tasks = [asyncio.create_task(one) for one in crowd]
    came_at = time.monotonic()
    asking: list[float] = []
    while not asking or await asyncio.to_thread(read_running, port) > 0:
        asking += await probe(port, 1)
    tell("asking", asking, pid)
    rest_s = max(arguments.seconds - (time.monotonic() - came_at), 0.0)
    crowded = await probe(port, rest_s)
    stay = tell("stay", asking + crowded, pid)
    beside = tell("crowded", crowded + await probe(port, arguments.seconds - rest_s), pid)
    print("cut:", ", ".join(f"{reason} {count}" for reason, count in read_cut(port).items() if count) or "none")
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [error for error in ended if isinstance(error, Exception)]
    if failed:
        raise failed[0]
    after = await probe(port, arguments.seconds / 2)
    tell("after", after, pid)
    alone = statistics.median(before + after)  # of both: a machine's other load comes and goes
    ratios = {"while the crowd is held": beside / alone, "from its first moment on": stay / alone}
    return tell_bars(
        {
            f"TTFT p50 {when} {ratio:.2f} times what it is alone, at most {WORST_RATIO:g}": ratio <= WORST_RATIO
            for when, ratio in ratios.items()
        }
    )


def main() -> int:
    arguments = parse_arguments()
    with lone_kodify("hostile", PORT, step_ms=STEP_MS) as server:
        return 0 if asyncio.run(measure(PORT, server.pid, arguments)) else 1


if __name__ == "__main__":
    sys.exit(main())
