"""Owns the bars: what Kodify's figures are held to, and the verdict on each."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bench.plan import EngineKind
from bench.results import Metric, Results
from bench.rows import Row


class Verdict(StrEnum):
    MET = "met"
    NOT_MET = "NOT MET"
    INVALID = "INVALID"
    NOT_MEASURED = "not measured"


class Relation(StrEnum):
    RATIO = "ratio"
    DIFFERENCE_MS = "difference, ms"
    DIFFERENCE_US = "difference, µs"
    ALONE = "alone"


@dataclass(frozen=True)
class Bar:
    """A row's median held against another's. `stretch` is the mark hoped for, where there is one."""

    title: str
    engine: EngineKind
    cell: str
    metric: Metric
    row: Row
    base: Row | None
    gate: float
    at_most: bool
    relation: Relation = Relation.RATIO
    stretch: float | None = None


@dataclass(frozen=True)
class Judgement:
    bar: Bar
    measured: float | None
    verdict: Verdict


_DOUBLE, _NANO = EngineKind.DOUBLE, EngineKind.NANO

_FULL, _PLAIN, _VLLM = Row.KODIFY_FULL, Row.KODIFY, Row.VLLM

BARS = (
    Bar("front-end CPU per streamed token", _DOUBLE, "chat:64@10", Metric.CPU_US_PER_TOKEN,
        _FULL, _VLLM, gate=0.45, stretch=0.30, at_most=True),
    Bar("TTFT p50", _DOUBLE, "chat:64@10", Metric.TTFT_P50_MS,
        _FULL, _VLLM, gate=0.70, stretch=0.50, at_most=True),
    Bar("TTFT p50, saturated", _DOUBLE, "chat:64@1", Metric.TTFT_P50_MS,
        _FULL, _VLLM, gate=0.15, stretch=0.08, at_most=True),
    Bar("front-end CPU per whole request", _DOUBLE, "whole:16@1", Metric.CPU_US_PER_REQUEST,
        _FULL, _VLLM, gate=0.30, stretch=0.15, at_most=True),
    Bar("whole requests per second", _DOUBLE, "whole:16@1", Metric.REQUESTS_PER_S,
        _FULL, _VLLM, gate=2.5, stretch=4.0, at_most=False),
    Bar("tokens per second over the gateway, saturated", _DOUBLE, "chat:64@1", Metric.TOKENS_PER_S,
        _FULL, Row.GATEWAY, gate=4.0, stretch=6.0, at_most=False),
    Bar("CPU per token, everything on over nothing on", _DOUBLE, "chat:64@10", Metric.CPU_US_PER_TOKEN,
        _FULL, _PLAIN, gate=1.08, stretch=1.03, at_most=True),
    Bar("CPU per token, journal on over off", _DOUBLE, "chat:64@10", Metric.CPU_US_PER_TOKEN,
        Row.JOURNAL, Row.JOURNAL_OFF, gate=1.05, at_most=True),
    Bar("front-end CPU of a request, users on beyond users off", _DOUBLE, "whole:16@1", Metric.CPU_US_PER_REQUEST,
        _FULL, Row.JOURNAL, gate=50.0, at_most=True, relation=Relation.DIFFERENCE_US),
    Bar("whole FIM completion beyond bare generate()", _DOUBLE, "fim:1@2", Metric.LATENCY_P50_MS,
        _FULL, Row.BARE, gate=1.5, stretch=0.8, at_most=True, relation=Relation.DIFFERENCE_MS),
    Bar("events per token on the wire", _DOUBLE, "chat:64@10", Metric.EVENTS_PER_TOKEN,
        _FULL, None, gate=0.95, at_most=False, relation=Relation.ALONE),
    Bar("tokens per second, real engine", _NANO, "chat:64", Metric.TOKENS_PER_S,
        _FULL, _VLLM, gate=1.25, stretch=1.5, at_most=False),
)  # fmt: skip


def judge(bar: Bar, results: Results) -> Judgement:
    own = results.find(bar.engine, bar.cell, bar.row)
    base = results.find(bar.engine, bar.cell, bar.base) if bar.base else own
    if own is None or base is None:
        return Judgement(bar, None, Verdict.NOT_MEASURED)
    measured = _relate(bar.relation, own.figures[bar.metric], base.figures[bar.metric])
    if own.failures or base.failures:
        return Judgement(bar, measured, Verdict.INVALID)
    return Judgement(bar, measured, Verdict.MET if reaches(bar, measured, bar.gate) else Verdict.NOT_MET)


def tell_bars(bars: Mapping[str, bool]) -> bool:
    """Prints the bars of a benchmark of its own, each with its verdict. Returns whether all are met."""
    for bar, is_met in bars.items():
        print(f"{Verdict.MET if is_met else Verdict.NOT_MET:8} {bar}")
    return all(bars.values())


def reaches(bar: Bar, measured: float, mark: float) -> bool:
    return measured <= mark if bar.at_most else measured >= mark


def _relate(relation: Relation, own: float, base: float) -> float:
    match relation:
        case Relation.RATIO:
            return own / base
        case Relation.DIFFERENCE_MS | Relation.DIFFERENCE_US:
            return own - base
        case Relation.ALONE:
            return own
