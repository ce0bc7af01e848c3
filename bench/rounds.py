"""Owns the rounds: calibrates each cell, then puts every row in turn under the same load and takes its figures."""

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

from bench.fleet import Fleet
from bench.load import Burst, Outcome, decode_outcome
from bench.measure import cpu_between_us, read_cpu, read_machine_busy_s, read_memory
from bench.pace import Pace
from bench.plan import FIM, Cell, EngineKind
from bench.prompts import PromptSource, leave_hole
from bench.results import Results, RowMemory, Sample, derive_bare_figures, derive_figures
from bench.rows import REPOSITORY, Row
from bench.servers import BareEngine, HttpServer

MIN_WAVES = 2
MIN_REQUESTS = 4
MAX_REQUESTS = 6_000
CALM_S = 0.05
CLIENT_GRACE_S = 15


class Rounds:
    """Drives one engine's fleet through its cells."""

    def __init__(self, fleet: Fleet, engine: EngineKind, prompts: PromptSource, pace: Pace, api_key: str) -> None:
        self._fleet = fleet
        self._engine = engine
        self._prompts = prompts
        self._pace = pace
        self._api_key = api_key
        self._unfit: dict[tuple[Row, Cell], str] = {}

    def run(self, cells: list[Cell], rounds: int, seconds: float, prefill_us: float, results: Results) -> None:
        served = [cell for cell in cells if cell.load.served]
        results.notes += [f"{self._engine} {cell.name}: not served yet" for cell in cells if not cell.load.served]
        requests = {cell: self._calibrate(cell, seconds, prefill_us) for cell in served}
        results.notes += [
            f"{self._engine} {cell.name} row {row} left out: {why}" for (row, cell), why in self._unfit.items()
        ]
        for number in range(rounds):
            for cell in served:
                self._pace.write(cell.step_ms or 0.0, prefill_us)
                bodies = self._prompts.make_bodies(cell.load, requests[cell])
                rows = self._list_rows(cell)
                for row in rows if number % 2 == 0 else reversed(rows):
                    sample = self._take_sample(row, cell, number, bodies, limit_s=30 + 10 * seconds)
                    results.samples.append(sample)
                    _tell(sample)
        results.memory += [self._read_memory(row) for row in self._fleet.subjects]

    def _list_rows(self, cell: Cell) -> list[Row]:
        """Leave out rows that failed the cell's warm-up; the bare engine answers single completions only."""
        runs_bare = cell.load is FIM and cell.concurrency == 1
        fit = [row for row in self._fleet.subjects if (row, cell) not in self._unfit]
        return [row for row in fit if row is not Row.BARE or runs_bare]

    def _calibrate(self, cell: Cell, seconds: float, prefill_us: float) -> int:
        """Warm every row up for the cell; return how many requests keep vLLM's server busy for `seconds`."""
        self._pace.write(cell.step_ms or 0.0, prefill_us)
        requests = max(MIN_REQUESTS, MIN_WAVES * cell.concurrency)
        wanted = requests
        for row in self._list_rows(cell):
            bodies = self._prompts.make_bodies(cell.load, requests)
            with self._fleet.awake(row) as subject:
                if isinstance(subject, BareEngine):
                    subject.time_answers([self._prompts.tokenize(body) for body in bodies])
                    continue
                assert isinstance(subject, HttpServer)
                outcome = self._send(subject.port, cell, _as_asked_of(row, cell, bodies), limit_s=60)
            if outcome.failures:
                self._unfit[row, cell] = f"{outcome.failures} of {requests} failed: {outcome.first_failure}"
            if row is Row.VLLM:
                waves = seconds / (outcome.wall_s / requests * cell.concurrency)
                wanted = min(MAX_REQUESTS, max(requests, round(waves) * cell.concurrency))
        return wanted

    def _take_sample(self, row: Row, cell: Cell, number: int, bodies: list[dict[str, Any]], limit_s: float) -> Sample:
        with self._fleet.awake(row) as subject:
            time.sleep(CALM_S)
            if isinstance(subject, BareEngine):
                tokenized = [self._prompts.tokenize(body) for body in bodies]
                figures = derive_bare_figures(subject.time_answers(tokenized))
                return Sample(self._engine, cell.name, row, number, len(bodies), 0, None, figures)
            assert isinstance(subject, HttpServer)
            parts = self._fleet.list_parts(row)
            front_end = [part.pid for part in parts]
            engine = [child for part in parts for child in part.children]
            front_before, engine_before, busy_before_s = read_cpu(front_end), read_cpu(engine), _busy_but_for_client_s()
            outcome = self._send(subject.port, cell, _as_asked_of(row, cell, bodies), limit_s)
            front_cpu_us = cpu_between_us(front_before, read_cpu(front_end))
            engine_cpu_us = cpu_between_us(engine_before, read_cpu(engine))
            others_cpu_s = _busy_but_for_client_s() - busy_before_s - (front_cpu_us + engine_cpu_us) / 1e6
        figures = derive_figures(outcome, front_cpu_us, engine_cpu_us, others_cpu_s)
        failed = (outcome.failures, outcome.first_failure)
        return Sample(self._engine, cell.name, row, number, outcome.answers, *failed, figures)

    def _send(self, port: int, cell: Cell, bodies: list[dict[str, Any]], limit_s: float) -> Outcome:
        burst = Burst(
            port=port,
            path=cell.load.path,
            bodies=bodies,
            concurrency=cell.concurrency,
            streamed=cell.load.streamed,
            api_key=self._api_key,
            cores=self._fleet.placement.client,
            limit_s=limit_s,
        )
        client = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            input=json.dumps(asdict(burst)),
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            timeout=limit_s + CLIENT_GRACE_S,
            check=True,
        )
        return decode_outcome(client.stdout)

    def _read_memory(self, row: Row) -> RowMemory:
        parts = self._fleet.list_parts(row)
        front_end = [part.pid for part in parts]
        children = [child for part in parts for child in part.children]
        return RowMemory(self._engine, row, read_memory(front_end), read_memory(front_end + children))


def _as_asked_of(row: Row, cell: Cell, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kodify with everything on fills in the middle itself; the others are sent the finished prompt."""
    leaves_hole = row is Row.KODIFY_FULL and cell.load.fill_in_the_middle
    return [leave_hole(body) for body in bodies] if leaves_hole else bodies


def _busy_but_for_client_s() -> float:
    """The machine's busy time but for this process and the load clients that it has awaited."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return read_machine_busy_s() - sum(usage.ru_utime + usage.ru_stime for usage in own)


def _tell(sample: Sample) -> None:
    figures = ", ".join(f"{metric} {value:,.2f}" for metric, value in sample.figures.items())
    trouble = f"; {sample.failures} FAILED: {sample.first_failure}" if sample.failures else ""
    print(f"round {sample.round} {sample.engine} {sample.cell} row {sample.row}: {figures}{trouble}", flush=True)
