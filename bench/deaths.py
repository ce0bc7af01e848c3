"""Owns the bar of a dying engine: `python -m bench.deaths` kills the engine's process under load, again and again.

Kodify serves the built-in model and starts its engine again (ENGINE_ON_FAILURE=restart).
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time

import httpx
import psutil

from bench.gates import tell_bars
from bench.lone import lone_kodify
from bench.plan import EngineKind
from bench.rows import KODIFY_COMMAND, MODEL_NAME

PORT = 18_750
MOST_S = 2.0
URL = f"http://127.0.0.1:{PORT}"
BODY = {"model": MODEL_NAME, "prompt": "def f(", "max_tokens": 1800, "ignore_eos": True, "stream": True}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.deaths", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--streams", type=int, default=32)
    return parser.parse_args()


async def stream(client: httpx.AsyncClient, begun: asyncio.Semaphore) -> float:
    """When the error came; raises where the answer ended in another way."""
    async with client.stream("POST", f"{URL}/v1/completions", json=BODY) as answer:
        last, is_first = "", True
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                last = line[6:]
                if is_first:
                    is_first = False
                    begun.release()
        ended_at = time.monotonic()
    if json.loads(last)["error"]["code"] < 500:
        raise RuntimeError(last)
    return ended_at


async def notice(client: httpx.AsyncClient) -> float:
    """When `/health` tells it."""
    while (await client.get(f"{URL}/health")).status_code == 200:  # noqa: ASYNC110 - it is asked, as probes do
        await asyncio.sleep(0.02)
    return time.monotonic()


def find_engine() -> psutil.Process:
    (server,) = (p for p in psutil.process_iter(["cmdline"]) if is_server(p))
    return next(child for child in server.children() if "EngineCore" in " ".join(child.cmdline()))


def is_server(process: psutil.Process) -> bool:
    return str(KODIFY_COMMAND) in (process.info["cmdline"] or []) and process.ppid() == os.getpid()


async def kill_once(number: int, streams: int) -> tuple[float, float]:
    """(the last client's error, health's), in seconds after the kill."""
    begun = asyncio.Semaphore(0)
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        asking = [asyncio.create_task(stream(client, begun)) for _ in range(streams)]
        for _ in range(streams):
            await begun.acquire()
        killed_at = time.monotonic()
        find_engine().send_signal(signal.SIGKILL)
        told_at = await notice(client)
        ends = await asyncio.gather(*asking)
        client_s, health_s = max(ends) - killed_at, told_at - killed_at
        while (await client.get(f"{URL}/health")).status_code != 200:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.1)
        back_s = time.monotonic() - killed_at
    print(f"kill {number}: errors within {client_s:.2f} s, health within {health_s:.2f} s, back after {back_s:.1f} s")
    return client_s, health_s


async def measure(arguments: argparse.Namespace) -> bool:
    found = [await kill_once(number + 1, arguments.streams) for number in range(arguments.times)]
    bars = {"every client has an error": max(a for a, _ in found), "/health tells it": max(b for _, b in found)}
    return tell_bars(
        {f"{bar} after {seconds:.2f} s, at most {MOST_S:g}": seconds <= MOST_S for bar, seconds in bars.items()}
    )


def main() -> int:
    arguments = parse_arguments()
    with lone_kodify("deaths", PORT, EngineKind.NANO, ENGINE_ON_FAILURE="restart"):
        return 0 if asyncio.run(measure(arguments)) else 1


if __name__ == "__main__":
    sys.exit(main())
