"""Owns what speculative decoding is worth: `python -m bench.speculation` completes the same holes with it and without.

The real engine on the built-in model, two servers of the same settings but `--speculative-config`. Rounds alternate,
and whoever is not measured is paused.
"""

import argparse
import asyncio
import json
import statistics
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.plan import EngineKind
from bench.rows import KODIFY_COMMAND, REPOSITORY, Launch, Setup, base_environment, kodify_environment
from bench.servers import HttpServer

PORT = 18_720
NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, "prompt_lookup_min": 2}


@dataclass
class Found:
    latency_ms: list[float]
    tokens: int
    seconds: float


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.speculation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--holes", type=int, default=64, help="of each round")
    parser.add_argument("--users", type=int, default=1, help="how many ask at once")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer, at most")
    return parser.parse_args()


def make_bodies(count: int, first: int, tokens: int) -> list[dict[str, object]]:
    """A line of a real file is left out from its middle on."""
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in sources if 30_000 < path.stat().st_size < 120_000]
    bodies: list[dict[str, object]] = []
    for number in range(first, first + count):
        text = texts[number % len(texts)]
        cursor = (len(text) // 3 + 7919 * number) % (len(text) - 4000) + 2000
        end = text.find("\n", cursor)
        fields = {"temperature": 0, "n_predict": tokens, "t_max_predict_ms": 0}
        bodies.append({"input_prefix": text[:cursor], "input_suffix": text[end:], **fields})
    return bodies


async def complete(port: int, bodies: list[dict[str, object]], users: int) -> Found:
    found, queue, began_at = Found([], 0, 0.0), iter(bodies), time.perf_counter()

    async def work(client: httpx.AsyncClient) -> None:
        for body in queue:
            asked_at = time.perf_counter()
            answer = (await client.post("/infill", json=body)).raise_for_status().json()
            found.latency_ms.append((time.perf_counter() - asked_at) * 1e3)
            found.tokens += answer["tokens_predicted"]

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        await asyncio.gather(*(work(client) for _ in range(users)))
    found.seconds = time.perf_counter() - began_at
    return found


def main() -> int:
    arguments = parse_arguments()
    found: dict[str, list[Found]] = {"without": [], "n-gram": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = Setup(EngineKind.NANO, REPOSITORY / "kodify" / "nano", "", folder / "pace")
        servers = {}
        for number, kind in enumerate(found):
            port = PORT + number
            own = kodify_environment(setup, port) | {"COMPLETION_CACHE": "0", "COMPLETION_DEADLINE_S": "60"}
            if kind == "n-gram":
                own["ADDITIONAL_ARGS"] += f" --speculative-config '{json.dumps(NGRAM)}'"
            environment = base_environment(setup) | own
            servers[kind] = HttpServer(kind, Launch([str(KODIFY_COMMAND), "serve"], environment), folder, port)
        try:
            for server in servers.values():
                server.start()
                server.await_ready()
                server.pause()
            for number in range(arguments.rounds + 1):  # the first warms up
                for kind in found if number % 2 == 0 else reversed(found):
                    bodies = make_bodies(arguments.holes, number * arguments.holes, arguments.tokens)
                    servers[kind].resume()
                    one = asyncio.run(complete(servers[kind].port, bodies, arguments.users))
                    servers[kind].pause()
                    if number:
                        found[kind].append(one)
        finally:
            for server in servers.values():
                server.stop()
    base = 0.0
    for kind, rounds in found.items():
        p50 = statistics.median(latency for one in rounds for latency in one.latency_ms)
        rate = sum(one.tokens for one in rounds) / sum(one.seconds for one in rounds)
        base = base or p50
        mean = sum(one.tokens for one in rounds) / sum(len(one.latency_ms) for one in rounds)
        print(f"{kind:8} p50 {p50:6.1f} ms ×{p50 / base:.2f}   {rate:6.0f} tokens/s   {mean:.1f} tokens an answer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
