"""Owns what a run leaves behind: the tables on the terminal and the rows as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.gates import BARS, Judgement, Verdict, judge, reaches
from bench.plan import EngineKind
from bench.results import Figures, Metric, Results
from bench.rows import TITLES, Row

REFERENCE = Row.VLLM
MISSING = "–"
QUIET_SHARE = 0.10
COLUMNS: tuple[tuple[str, Metric, Metric | None, bool], ...] = (
    # title, metric, its p99 companion, whether the ratio to vLLM's server is shown
    ("tokens/s", Metric.TOKENS_PER_S, None, True),
    ("requests/s", Metric.REQUESTS_PER_S, None, True),
    ("CPU µs/token", Metric.CPU_US_PER_TOKEN, None, True),
    ("CPU µs/request", Metric.CPU_US_PER_REQUEST, None, True),
    ("TTFT p50/p99 ms", Metric.TTFT_P50_MS, Metric.TTFT_P99_MS, True),
    ("ITL p50/p99 ms", Metric.ITL_P50_MS, Metric.ITL_P99_MS, True),
    ("whole p50/p99 ms", Metric.LATENCY_P50_MS, Metric.LATENCY_P99_MS, True),
    ("events/token", Metric.EVENTS_PER_TOKEN, None, False),
)


def render_report(results: Results) -> str:
    """Return every cell's medians with their ratios to vLLM's server, the memory, the notes and the gates."""
    parts = [_render_cell(results, engine, cell) for engine, cell in results.list_cells()]
    parts += [_render_memory(results), "\n".join(results.notes), render_gates(results), _render_noise(results)]
    return "\n\n".join(part for part in parts if part)


def render_gates(results: Results) -> str:
    lines = [["bar", "engine", "cell", "rows", "measured", "gate", "stretch", "verdict"]]
    return "GATES (medians)\n" + _align(lines + [_gate_line(judge(bar, results)) for bar in BARS])


def has_unmet_bar(results: Results) -> bool:
    return any(judge(bar, results).verdict in (Verdict.NOT_MET, Verdict.INVALID) for bar in BARS)


def write_json(results: Results, run: dict[str, Any], path: Path) -> None:
    """Write the samples, their medians and the verdicts; `run` says where and how they were taken."""
    medians = [
        {"engine": engine, "cell": cell, "row": row, "title": TITLES[row], **asdict(found)}
        for engine, cell in results.list_cells()
        for row in Row
        if (found := results.find(engine, cell, row))
    ]
    document = {
        "run": run,
        "medians": medians,
        "memory": [asdict(memory) for memory in results.memory],
        "gates": [asdict(judge(bar, results)) for bar in BARS],
        "notes": results.notes,
        "samples": [asdict(sample) for sample in results.samples],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _render_cell(results: Results, engine: EngineKind, cell: str) -> str:
    reference = results.find(engine, cell, REFERENCE)
    base = reference.figures if reference else {}
    lines = [["row", *(title for title, *_ in COLUMNS), "failed"]]
    lines += [
        [f"{row} {TITLES[row]}", *_cell_line(found.figures, base), str(found.failures)]
        for row in Row
        if (found := results.find(engine, cell, row))
    ]
    return f"{engine} engine, {cell} (ratios to row {REFERENCE})\n{_align(lines)}"


def _cell_line(figures: Figures, base: Figures) -> list[str]:
    texts = []
    for _, metric, companion, shows_ratio in COLUMNS:
        if metric not in figures:
            texts.append(MISSING)
            continue
        text = _number(figures[metric])
        if companion in figures:
            text += f"/{_number(figures[companion])}"
        if shows_ratio and base.get(metric):
            text += f" ×{figures[metric] / base[metric]:.2f}"
        texts.append(text)
    return texts


def _render_memory(results: Results) -> str:
    if not results.memory:
        return ""
    lines = [["engine", "row", "front end RSS", "front end PSS", "all processes RSS", "all processes PSS"]]
    for memory in results.memory:
        sizes = (memory.front_end.rss_mib, memory.front_end.pss_mib, memory.whole.rss_mib, memory.whole.pss_mib)
        lines.append([memory.engine, f"{memory.row} {TITLES[memory.row]}", *(f"{size:,.0f}" for size in sizes)])
    return f"resident memory, MiB\n{_align(lines)}"


def _render_noise(results: Results) -> str:
    share = results.find_others_load()
    if share is None:
        return ""
    warning = ": too much, measure again on a quiet machine" if share > QUIET_SHARE else ""
    return f"other programs took {share:.2f} of a core during the loads (median){warning}"


def _gate_line(judgement: Judgement) -> list[str]:
    bar = judgement.bar
    sign = "≤" if bar.at_most else "≥"
    rows = f"{bar.row} / {bar.base}" if bar.base else f"{bar.row}"
    measured = MISSING if judgement.measured is None else f"{judgement.measured:.3f}"
    stretch = MISSING if bar.stretch is None else f"{sign}{bar.stretch:g}"
    if bar.stretch is not None and judgement.measured is not None and reaches(bar, judgement.measured, bar.stretch):
        stretch += " met"
    gate = f"{sign}{bar.gate:g}"
    return [bar.title, bar.engine, bar.cell, f"{rows} ({bar.relation})", measured, gate, stretch, judgement.verdict]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _align(lines: list[list[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    first, *rest = (" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([first.rstrip(), "-|-".join("-" * width for width in widths), *(line.rstrip() for line in rest)])
