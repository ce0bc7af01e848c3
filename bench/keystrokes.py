"""Owns the typing load: `python -m bench.keystrokes` tells what the layout of a completion's prompt is worth.

Several people type into long files, three characters at a time, and ask `/infill` after each. Three servers answer
over the engine double, which takes its time for each prompt token that it has no cache for. What differs is the
prompt: a window of so many characters before the cursor, which a client cuts and which moves with every keystroke;
Kodify's own window, whose start is anchored; and that with the text after the cursor first, as some models want it.
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
from typing import Any

import httpx

from bench.pace import Pace
from bench.plan import EngineKind
from bench.rows import KODIFY_COMMAND, REPOSITORY, Launch, Setup, base_environment, kodify_environment
from bench.servers import HttpServer

PORT = 18_700
WINDOW_CHARACTERS = 2600  # of a client that cuts its window itself
PROMPT_TOKENS, ANSWER_TOKENS = 1000, 32
STEP_CHARACTERS = 3


@dataclass(frozen=True)
class Layout:
    title: str
    order: str
    slides: bool


LAYOUTS = (
    Layout("window of the client's that slides, prefix first", "prefix-suffix-middle", True),
    Layout("anchored window, prefix first", "prefix-suffix-middle", False),
    Layout("anchored window, suffix first", "suffix-prefix-middle", False),
)


@dataclass(frozen=True)
class Keystroke:
    latency_ms: float
    prompt_tokens: int
    cached_tokens: int


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.keystrokes", description="Completions of people who type.")
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--keystrokes", type=int, default=40, help="of each user, after the first one")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds, each in other files")
    parser.add_argument("--step-ms", type=float, default=8.0, help="the double's step")
    parser.add_argument("--prefill-us", type=float, default=100.0, help="the double's time per uncached prompt token")
    return parser.parse_args()


def find_files() -> list[str]:
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return [path.read_text(encoding="utf-8") for path in sources if 30_000 < path.stat().st_size < 120_000]


def write_preset(folder: Path, layout: Layout) -> Path:
    """Qwen's, cut to the prompt's length, in the layout's order, with answers left at their length."""
    preset = json.loads((REPOSITORY / "preprocess_configs" / "qwen.json").read_text())
    preset |= {"order": layout.order, "max_prompt_tokens": PROMPT_TOKENS, "rules": {"enabled": False}}
    preset.pop("$schema", None)
    path = folder / f"{layout.order}.json"
    path.write_text(json.dumps(preset))
    return path


def make_body(prefix: str, suffix: str, layout: Layout) -> dict[str, Any]:
    return {
        "input_prefix": prefix[-WINDOW_CHARACTERS:] if layout.slides else prefix,
        "input_suffix": suffix,
        "n_predict": ANSWER_TOKENS,
        "t_max_predict_ms": 0,
        "temperature": 0,
        "ignore_eos": True,
    }


async def type_into(client: httpx.AsyncClient, text: str, cursor: int, layout: Layout, count: int) -> list[Keystroke]:
    """The first one, for which nothing is cached, is left out. What is typed is the file's own next lines."""
    keystrokes = []
    typed = STEP_CHARACTERS * count
    for number in range(count + 1):
        body = make_body(text[: cursor + number * STEP_CHARACTERS], text[cursor + typed :], layout)
        began_at = time.perf_counter()
        answer = await client.post("/infill", json=body)
        latency_ms = (time.perf_counter() - began_at) * 1e3
        answer.raise_for_status()
        content = answer.json()
        keystrokes.append(Keystroke(latency_ms, content["tokens_evaluated"], content["tokens_cached"]))
    return keystrokes[1:]


async def run_round(port: int, texts: list[str], layout: Layout, arguments: argparse.Namespace) -> list[Keystroke]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        typing = [
            type_into(client, text, len(text) // 2 + 1237 * number % 5000, layout, arguments.keystrokes)
            for number, text in enumerate(texts)
        ]
        return [keystroke for own in await asyncio.gather(*typing) for keystroke in own]


def launch(layout: Layout, port: int, setup: Setup, folder: Path) -> HttpServer:
    environment = base_environment(setup) | kodify_environment(setup, port)
    environment |= {
        "COMPLETIONS_PREPROCESSING_CONFIG": str(write_preset(folder, layout)),
        "COMPLETION_CACHE": "0",
        "COMPLETION_SUPERSEDE": "0",
        "COMPLETION_DEADLINE_S": "60",
    }
    return HttpServer(layout.order, Launch([str(KODIFY_COMMAND), "serve"], environment), folder, port)


def report(layout: Layout, found: list[Keystroke], first_ms: float) -> float:
    latencies = sorted(keystroke.latency_ms for keystroke in found)
    p50, p95 = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.95)]
    share = sum(k.cached_tokens for k in found) / sum(k.prompt_tokens for k in found)
    tokens = statistics.median(keystroke.prompt_tokens for keystroke in found)
    print(
        f"{layout.title:50} p50 {p50:6.0f} ms ×{p50 / (first_ms or p50):.2f}   p95 {p95:6.0f} ms   "
        f"prompt {tokens:5.0f} tokens, cached {share:4.0%}   {len(found)} keystrokes"
    )
    return p50


def main() -> int:
    arguments = parse_arguments()
    files = find_files()
    found: dict[str, list[Keystroke]] = {layout.title: [] for layout in LAYOUTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = Setup(EngineKind.DOUBLE, REPOSITORY / "kodify" / "nano", "", folder / "pace")
        Pace(setup.pace_file).write(arguments.step_ms, arguments.prefill_us)
        orders = {layout.order: layout for layout in LAYOUTS}
        servers = {order: launch(layout, PORT + n, setup, folder) for n, (order, layout) in enumerate(orders.items())}
        try:
            for server in servers.values():
                server.start()
                server.await_ready()
                server.pause()
            for number in range(arguments.rounds):
                for layout in LAYOUTS if number % 2 == 0 else LAYOUTS[::-1]:
                    server = servers[layout.order]
                    first = (number * len(LAYOUTS) + LAYOUTS.index(layout)) * arguments.users
                    texts = [files[(first + user) % len(files)] for user in range(arguments.users)]
                    server.resume()
                    found[layout.title] += asyncio.run(run_round(server.port, texts, layout, arguments))
                    server.pause()
        finally:
            for server in servers.values():
                server.stop()
    first_ms = 0.0
    for layout in LAYOUTS:
        p50 = report(layout, found[layout.title], first_ms)
        first_ms = first_ms or p50
    return 0


if __name__ == "__main__":
    sys.exit(main())
