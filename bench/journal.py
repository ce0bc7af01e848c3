"""Owns the journal's own bars: `python -m bench.journal` puts entries at a set rate before a real PostgreSQL."""

import argparse
import asyncio
import gc
import logging
import sys
import tempfile
import time
from pathlib import Path

import orjson
import psutil
from prometheus_client import CollectorRegistry

from bench.gates import tell_bars
from kodify.db.database import Database
from kodify.db.journal import JournalWriter
from kodify.journal import Entry, Journal
from kodify.metrics import JournalMetrics

PUT_P99_US, GROWTH_MB = 100.0, 200.0
TURN_S = 0.001
DRAIN_LIMIT_S = 120


def make_entry(number: int, prompt: str, answer: str) -> Entry:
    """A fill-in-the-middle request as an editor sends it: about `--bytes` in, a line out."""
    now_us = time.time_ns() // 1000
    return Entry(
        kind="POST /v1/completions", request_us=now_us - 40_000, response_us=now_us, duration_ms=40.0, status_code=200,
        address="10.0.0.1", username=f"user{number % 500}@example.com", request_id=f"{number:032x}", model="bench",
        prompt_tokens=300, completion_tokens=12, finish_reason="stop",
        request=orjson.dumps({"model": "bench", "prompt": prompt, "max_tokens": 32, "n": number}),
        response=orjson.dumps({"choices": [{"index": 0, "text": answer, "finish_reason": "stop"}]}),
    )  # fmt: skip


async def run(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = Database("embedded", folder / "postgres", embedded_name="bench")
        metrics = JournalMetrics(CollectorRegistry())
        writer = JournalWriter(database, migrate=True)
        journal = Journal(writer, folder / "journal", {}, metrics, limit_bytes=1 << 30)
        journal.open()
        await journal.start()
        try:
            return await measure(journal, database, arguments)
        finally:
            await journal.stop()


async def measure(journal: Journal, database: Database, arguments: argparse.Namespace) -> int:
    prompt = "def parse(line: str) -> list[str]:\n" * (arguments.bytes // 35)
    entries = [make_entry(number, prompt, "    return line.split()\n") for number in range(arguments.rate)]
    journal.put(entries[0])
    await asyncio.sleep(1)
    gc.collect()
    process = psutil.Process()
    before, most = process.memory_info().rss, 0
    costs_us: list[float] = []
    wanted, put = arguments.rate * arguments.seconds, 0
    began, turns_late = time.perf_counter(), 0.0
    cpu_before = time.process_time()
    while put < wanted:
        due = min(wanted, int((time.perf_counter() - began) * arguments.rate))
        while put < due:
            entry = entries[put % arguments.rate]
            start = time.perf_counter()
            journal.put(entry)
            costs_us.append((time.perf_counter() - start) * 1e6)
            put += 1
        asked = time.perf_counter()
        await asyncio.sleep(TURN_S)
        turns_late = max(turns_late, time.perf_counter() - asked - TURN_S)
        most = max(most, process.memory_info().rss)
    took = time.perf_counter() - began
    while count(database) < wanted + 1 and time.perf_counter() - began < took + DRAIN_LIMIT_S:
        await asyncio.sleep(0.1)
        most = max(most, process.memory_info().rss)
    rows, all_in_s = count(database), time.perf_counter() - began
    cpu_us = (time.process_time() - cpu_before) / wanted * 1e6
    costs_us.sort()
    p50, p99 = costs_us[len(costs_us) // 2], costs_us[int(len(costs_us) * 0.99)]
    growth_mb = (most - before) / 1e6
    bars = {
        f"rows = entries: {rows:,} of {wanted + 1:,}": rows == wanted + 1,
        f"put p99 {p99:.1f} µs, at most {PUT_P99_US:.0f} (p50 {p50:.1f} µs)": p99 <= PUT_P99_US,
        f"resident memory grew by {growth_mb:.0f} MB, at most {GROWTH_MB:.0f}": growth_mb <= GROWTH_MB,
    }
    print(f"{wanted:,} entries of {arguments.bytes:,} bytes put in {took:.1f} s, in PostgreSQL after {all_in_s:.1f} s")
    print(
        f"this process's CPU an entry, all in all: {cpu_us:.1f} µs; longest pause of the loop {turns_late * 1e3:.1f} ms"
    )
    return 0 if tell_bars(bars) else 1


def count(database: Database) -> int:
    with database.blocking_connection() as connection:
        row = connection.execute("SELECT count(*) FROM journal").fetchone()
    return int(row[0]) if row else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.journal", description="The journal's own bars.")
    parser.add_argument("--rate", type=int, default=10_000, help="entries a second")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--bytes", type=int, default=1_000, help="of a request's prompt")
    logging.basicConfig(level=logging.WARNING)
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
