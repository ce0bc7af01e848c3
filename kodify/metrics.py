"""Kodify's own Prometheus series; the engine brings its own beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kodify import __version__
from kodify.line import Line

CompletionKind = Literal["answered", "shown", "accepted", "dismissed"]
MOST_NAMES = 100
OTHER, UNKNOWN = "other", "unknown"
_LANGUAGE = re.compile(r"[a-z0-9+#-]{1,32}")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """One registry for each app, so that two apps in one process don't meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "kodify_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.duration = Histogram(
            "kodify_request_duration_seconds",
            "From the request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_progress = 0
        Gauge("kodify_requests_in_progress", "Requests being answered.", registry=self.registry).set_function(
            lambda: self.in_progress
        )
        self._by_answer: dict[tuple[str, str, int], Counter] = {}
        self._by_route: dict[str, Histogram] = {}
        self.cancelled = Counter(
            "kodify_requests_cancelled", "Generations stopped because their client left.", registry=self.registry
        )
        self.prompt_tokens = Counter("kodify_prompt_tokens", "Tokens of prompts.", registry=self.registry)
        self.completion_tokens = Counter(
            "kodify_completion_tokens", "Tokens handed to answers.", registry=self.registry
        )
        self.first_delta = Histogram(
            "kodify_time_to_first_delta_seconds",
            "From a job's submission to its first text.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.completions_cached = Counter(
            "kodify_completions_cached", "Editors' completions given again without the engine.", registry=self.registry
        )
        self.completions_superseded = Counter(
            "kodify_completions_superseded", "Editors' completions ended by newer ones.", registry=self.registry
        )
        self.completions_late = Counter(
            "kodify_completions_late", "Editors' completions cut at their deadline.", registry=self.registry
        )
        cache = Counter("kodify_auth_cache", "Tokens looked up, by result.", ["result"], registry=self.registry)
        self.auth_cache_hits, self.auth_cache_misses = cache.labels("hit"), cache.labels("miss")
        info = Gauge("kodify_info", "1, with the version.", ["version"], registry=self.registry)
        info.labels(__version__).set(1)

    def watch_loaded(self, loaded: Callable[[], bool]) -> None:
        meaning = "1 when the models are loaded and no end was asked for."
        Gauge("kodify_loaded", meaning, registry=self.registry).set_function(loaded)

    def watch_auth_cache(self, size: Callable[[], int]) -> None:
        gauge = Gauge("kodify_auth_cache_entries", "Tokens whose holders are known.", registry=self.registry)
        gauge.set_function(size)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Routes, methods and statuses are few: their series are looked up once each."""
        answer = (route, method, status)
        if (counter := self._by_answer.get(answer)) is None:
            counter = self._by_answer[answer] = self.requests.labels(route, method, str(status))
        counter.inc()
        if (histogram := self._by_route.get(route)) is None:
            histogram = self._by_route[route] = self.duration.labels(route)
        histogram.observe(seconds)

    def observe_generation(self, *, prompt_tokens: int, completion_tokens: int, first_delta_s: float | None) -> None:
        self.prompt_tokens.inc(prompt_tokens)
        self.completion_tokens.inc(completion_tokens)
        if first_delta_s is not None:
            self.first_delta.observe(first_delta_s)

    def render(self) -> bytes:
        return generate_latest(self.registry)


class LineMetrics(Collector):
    """Of the lines in front of engines, when they are asked for."""

    def __init__(self, registry: CollectorRegistry, lines: Callable[[], Iterable[tuple[str, Line]]]) -> None:
        """`lines`: with the names of their models."""
        self._lines = lines
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        meanings: dict[str, tuple[str, Callable[[Line], float]]] = {
            "running": ("Sequences that the engine was given.", lambda line: line.running),
            "waiting": ("Requests that wait for room in the engine.", lambda line: line.waiting),
            "waiting_tokens": ("Tokens of the prompts that wait.", lambda line: line.waiting_tokens),
        }
        for name, (meaning, value) in meanings.items():
            gauge = GaugeMetricFamily(f"kodify_line_{name}", meaning, labels=["model"])
            for model, line in self._lines():
                gauge.add_metric([model], value(line))
            yield gauge
        meaning = "Requests refused because too many waited."
        refused = CounterMetricFamily("kodify_line_refused", meaning, labels=["model", "kind"])
        for model, line in self._lines():
            for kind in ("completion", "chat"):
                refused.add_metric([model, kind], line.refused[kind])
        yield refused


class JournalMetrics(Collector):
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.accepted = 0  # a plain number: each request pays for it
        registry.register(self)
        self.written = Counter("kodify_journal_written", "Entries that PostgreSQL has.", registry=registry)
        self.mended = Counter(
            "kodify_journal_mended", "Entries written after what PostgreSQL refuses was replaced.", registry=registry
        )
        self.quarantined = Counter(
            "kodify_journal_quarantined", "Entries set aside, for PostgreSQL refuses them.", registry=registry
        )
        self.lost = Counter(
            "kodify_journal_lost",
            "Entries lost: the spool full, its disk full or damaged, a bug.",
            ["reason"],
            registry=registry,
        )
        for reason in ("full", "disk", "damaged", "bug"):
            self.lost.labels(reason)

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("kodify_journal_accepted", "Entries taken into the spool.", value=self.accepted)

    def watch(
        self,
        *,
        waiting: Callable[[], float],
        spooled_bytes: Callable[[], float],
        limit_bytes: int,
        alarm: Callable[[], float],
        lag_s: Callable[[], float],
    ) -> None:
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "waiting_entries": ("Entries in the spool.", waiting),
            "spooled_bytes": ("Size of the spool.", spooled_bytes),
            "spool_limit_bytes": ("Size at which entries are lost.", lambda: limit_bytes),
            "spool_alarm": ("1 when the spool is at four fifths of its limit.", alarm),
            "lag_seconds": ("How long the oldest entry has been waiting.", lag_s),
        }
        for name, (meaning, value) in gauges.items():
            Gauge(f"kodify_journal_{name}", meaning, registry=self._registry).set_function(value)


def plain_language(name: str) -> str:
    """A language as clients name it, where it looks like one."""
    lower = name.lower()
    return lower if _LANGUAGE.fullmatch(lower) else OTHER


class CompletionMetrics(Collector):
    """What became of completions, by language and model. However many names clients make up, the series stay few."""

    def __init__(self, registry: CollectorRegistry, language: Callable[[str], str] = plain_language) -> None:
        """`language`: the name by which one is counted."""
        self._language = language
        self._dropped: Callable[[], float] = lambda: 0
        registry.register(self)
        meanings: dict[CompletionKind, str] = {
            "answered": "Completions answered.",
            "shown": "Views of completions that editors showed.",
            "accepted": "Views of which something was accepted.",
            "dismissed": "Views that were dismissed.",
        }
        self._counters = {
            kind: Counter(f"kodify_completions_{kind}", meaning, ["language", "model"], registry=registry)
            for kind, meaning in meanings.items()
        }
        self._series: dict[tuple[CompletionKind, str, str], Counter] = {}
        self._languages: set[str] = set()
        self._models: set[str] = set()

    def count(self, kind: CompletionKind, language: str | None, model: str | None) -> None:
        """None where it is unknown."""
        key = (
            kind,
            _named(self._languages, self._language(language)) if language else UNKNOWN,
            _named(self._models, model) if model else UNKNOWN,
        )
        if (counter := self._series.get(key)) is None:
            counter = self._series[key] = self._counters[kind].labels(*key[1:])
        counter.inc()

    def watch(self, *, dropped: Callable[[], float]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        meaning = "Events of completions that the journal's database has not taken."
        yield CounterMetricFamily("kodify_completion_events_dropped", meaning, value=self._dropped())


def _named(known: set[str], name: str) -> str:
    """The first names stay, what comes after them is another."""
    if name not in known:
        if len(known) >= MOST_NAMES:
            return OTHER
        known.add(name)
    return name
