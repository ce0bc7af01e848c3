"""Owns the figures: one sample per row, cell and round, and their medians."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from bench.load import Outcome
from bench.measure import Memory
from bench.plan import EngineKind
from bench.rows import Row


class Metric(StrEnum):
    """The loads are shares of one core: what stands near 1 is what held the rest up."""

    TOKENS_PER_S = "tokens_per_s"
    REQUESTS_PER_S = "requests_per_s"
    CPU_US_PER_TOKEN = "cpu_us_per_token"
    CPU_US_PER_REQUEST = "cpu_us_per_request"
    ENGINE_CPU_US_PER_TOKEN = "engine_cpu_us_per_token"
    TTFT_P50_MS = "ttft_p50_ms"
    TTFT_P99_MS = "ttft_p99_ms"
    ITL_P50_MS = "itl_p50_ms"
    ITL_P99_MS = "itl_p99_ms"
    LATENCY_P50_MS = "latency_p50_ms"
    LATENCY_P99_MS = "latency_p99_ms"
    EVENTS_PER_TOKEN = "events_per_token"
    FRONT_END_LOAD = "front_end_load"
    ENGINE_LOAD = "engine_load"
    CLIENT_LOAD = "client_load"
    OTHERS_LOAD = "others_load"


Figures = dict[Metric, float]


@dataclass(frozen=True)
class Sample:
    engine: EngineKind
    cell: str
    row: Row
    round: int
    answers: int
    failures: int
    first_failure: str | None
    figures: Figures


@dataclass(frozen=True)
class RowMemory:
    """Resident memory after the loads: of the front end alone, and with the engine's processes."""

    engine: EngineKind
    row: Row
    front_end: Memory
    whole: Memory


@dataclass(frozen=True)
class CellRow:
    """The medians of one row in one cell."""

    figures: Figures
    failures: int


class Results:
    """All samples of a run, and what was left out of it and why."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.memory: list[RowMemory] = []
        self.notes: list[str] = []

    def find(self, engine: EngineKind, cell: str, row: Row) -> CellRow | None:
        samples = [one for one in self.samples if (one.engine, one.cell, one.row) == (engine, cell, row)]
        if not samples:
            return None
        metrics = [metric for metric in Metric if all(metric in one.figures for one in samples)]
        figures = {metric: median(one.figures[metric] for one in samples) for metric in metrics}
        return CellRow(figures, failures=sum(one.failures for one in samples))

    def find_others_load(self) -> float | None:
        """Return the median share of a core that programs of no row took during the loads."""
        shares = [one.figures[Metric.OTHERS_LOAD] for one in self.samples if Metric.OTHERS_LOAD in one.figures]
        return median(shares) if shares else None

    def list_cells(self) -> list[tuple[EngineKind, str]]:
        return list(dict.fromkeys((one.engine, one.cell) for one in self.samples))


def derive_figures(outcome: Outcome, front_end_cpu_us: float, engine_cpu_us: float, others_cpu_s: float) -> Figures:
    """Put a load's outcome and the CPU time spent on it, and beside it by programs of no row, into figures."""
    tokens, answers, wall_s = max(outcome.tokens, 1), max(outcome.answers, 1), outcome.wall_s
    figures: Figures = {
        Metric.TOKENS_PER_S: outcome.tokens / wall_s,
        Metric.REQUESTS_PER_S: outcome.answers / wall_s,
        Metric.CPU_US_PER_TOKEN: front_end_cpu_us / tokens,
        Metric.CPU_US_PER_REQUEST: front_end_cpu_us / answers,
        Metric.ENGINE_CPU_US_PER_TOKEN: engine_cpu_us / tokens,
        Metric.LATENCY_P50_MS: outcome.latency_ms.p50,
        Metric.LATENCY_P99_MS: outcome.latency_ms.p99,
        Metric.FRONT_END_LOAD: front_end_cpu_us / 1e6 / wall_s,
        Metric.ENGINE_LOAD: engine_cpu_us / 1e6 / wall_s,
        Metric.CLIENT_LOAD: outcome.client_cpu_s / wall_s,
        Metric.OTHERS_LOAD: max(others_cpu_s, 0.0) / wall_s,
    }
    if outcome.events:
        figures |= {
            Metric.TTFT_P50_MS: outcome.ttft_ms.p50,
            Metric.TTFT_P99_MS: outcome.ttft_ms.p99,
            Metric.ITL_P50_MS: outcome.itl_ms.p50,
            Metric.ITL_P99_MS: outcome.itl_ms.p99,
            Metric.EVENTS_PER_TOKEN: outcome.events / tokens,
        }
    return figures


def derive_bare_figures(latency_ms: Iterable[float]) -> Figures:
    ordered = sorted(latency_ms)
    return {
        Metric.REQUESTS_PER_S: 1e3 * len(ordered) / sum(ordered),
        Metric.LATENCY_P50_MS: median(ordered),
        Metric.LATENCY_P99_MS: ordered[round(0.99 * (len(ordered) - 1))],
    }
