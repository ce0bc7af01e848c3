"""What boards and alerts ask, and what of it a scraped text lacks."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from .conftest import ROOT

BOARDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "configs/grafana").rglob("*.json")
}
ALERTS = yaml.safe_load((ROOT / "configs/prometheus/alerts.yml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"]]
QUERIES = [target["expr"] for _, panel in PANELS for target in panel["targets"] if "expr" in target]
SQL = {
    f"{name}: {panel['title']}": target["rawSql"]
    for name, panel in PANELS
    for target in panel["targets"]
    if "rawSql" in target
}
_SERIES = re.compile(r"\b((?:kodify|vllm|node|pg|process|DCGM)[_:][A-Za-z0-9_:]+)(\{[^}]*\})?")
OF_PROMETHEUS = {"job", "instance", "le"}


def named(prefix: str) -> dict[str, set[str]]:
    """Series of boards and alerts to the labels that are asked of them."""
    found: dict[str, set[str]] = {}
    for query in [*QUERIES, *(rule["expr"] for rule in RULES)]:
        grouped = {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", query) for label in by.split(",")}
        for name, matchers in _SERIES.findall(query):
            if name.startswith(prefix):
                asked = set(re.findall(r'(\w+)(?:=|!=|=~|!~)"', matchers))
                found[name] = found.get(name, set()) | asked | grouped
    return found


def missing(text: str, prefix: str) -> list[str]:
    """Series, and labels of series, that boards and alerts name and `text` has not."""
    known: dict[str, set[str] | None] = {}
    for family in text_string_to_metric_families(text):
        for suffix in ("", "_total", "_bucket", "_sum", "_count"):
            known.setdefault(family.name + suffix, None)  # a counter by labels has no sample before it counts
        for sample in family.samples:
            known[sample.name] = (known[sample.name] or set()) | set(sample.labels)
    lacks = []
    for name, labels in named(prefix).items():
        if name not in known:
            lacks.append(name)
        elif (there := known[name]) is not None:
            lacks.extend(f"{name}{{{label}}}" for label in labels - there - OF_PROMETHEUS)
    return lacks
