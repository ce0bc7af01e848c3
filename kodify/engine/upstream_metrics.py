"""What is counted about upstreams, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_LABELS = ("upstream", "task")


class Counted(Protocol):
    label: str
    up: bool
    running: int
    requests: int
    failures: int


class UpstreamSeries(Collector):
    """`task`: what they are for. One server may generate and embed."""

    def __init__(self, upstreams: Sequence[Counted], task: str) -> None:
        self._upstreams = upstreams
        self._task = task
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        yield from ()

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("kodify_upstream_up", "1 when requests go there.", labels=_LABELS)
        running = GaugeMetricFamily("kodify_upstream_running", "Requests that it answers.", labels=_LABELS)
        requests = CounterMetricFamily("kodify_upstream_requests", "Requests sent there.", labels=_LABELS)
        failures = CounterMetricFamily(
            "kodify_upstream_failures", "Requests that it did not answer, or not to the end.", labels=_LABELS
        )
        for one in self._upstreams:
            labels = (one.label, self._task)
            for family, value in ((up, one.up), (running, one.running)):
                family.add_metric(labels, float(value))
            for counter, count in ((requests, one.requests), (failures, one.failures)):
                counter.add_metric(labels, count)
        yield from (up, running, requests, failures)
