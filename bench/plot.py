"""Owns the plot: one picture of a run, a line of panels per engine, a bar per row."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from bench.plan import EngineKind
from bench.results import Metric, Results
from bench.rows import TITLES, Row

PANELS = (
    (Metric.TOKENS_PER_S, "output tokens/s"),
    (Metric.TTFT_P50_MS, "TTFT p50, ms"),
    (Metric.CPU_US_PER_TOKEN, "front-end CPU, µs per token"),
    (Metric.CPU_US_PER_REQUEST, "front-end CPU, µs per request"),
)
COLOURS = {
    Row.VLLM: "#7f7f7f",
    Row.VLLM_TUNED: "#b8b8b8",
    Row.GATEWAY: "#d08a3c",
    Row.KODIFY: "#2a6fbb",
    Row.KODIFY_FULL: "#7db3e8",
}


def draw(results: Results, path: Path) -> None:
    """Draw every cell's medians, on logarithmic scales, to a file whose suffix names the format."""
    engines = [engine for engine in EngineKind if any(engine is found for found, _ in results.list_cells())]
    figure, grid = plt.subplots(
        len(engines), len(PANELS), figsize=(5 * len(PANELS), 4 * len(engines)), squeeze=False, layout="constrained"
    )
    for line, engine in zip(grid, engines, strict=True):
        cells = [cell for found, cell in results.list_cells() if found is engine]
        for axes, (metric, title) in zip(line, PANELS, strict=True):
            _draw_panel(axes, results, engine, cells, metric)
            axes.set_title(f"{engine}: {title}", fontsize=10)
    legend: dict[str, Artist] = {}
    for axes in grid.flat:
        handles, labels = axes.get_legend_handles_labels()
        legend |= dict(zip(labels, handles, strict=True))
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=len(COLOURS), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_panel(axes: Axes, results: Results, engine: EngineKind, cells: list[str], metric: Metric) -> None:
    measured = {
        (cell, row): found.figures[metric]
        for cell in cells
        for row in COLOURS
        if (found := results.find(engine, cell, row)) and metric in found.figures
    }
    shown_cells = [cell for cell in cells if any(cell == found for found, _ in measured)]
    shown_rows = [row for row in COLOURS if any(row is found for _, found in measured)]
    width = 0.8 / max(len(shown_rows), 1)
    for index, row in enumerate(shown_rows):
        places = [place for place, cell in enumerate(shown_cells) if (cell, row) in measured]
        heights = [measured[shown_cells[place], row] for place in places]
        shifted = [place + (index - (len(shown_rows) - 1) / 2) * width for place in places]
        axes.bar(shifted, heights, width, color=COLOURS[row], label=f"{row} {TITLES[row]}")
    axes.set_xticks(range(len(shown_cells)), shown_cells, rotation=40, ha="right", fontsize=8)
    axes.set_yscale("log")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
