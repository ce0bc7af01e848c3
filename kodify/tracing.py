"""Traces of requests in OpenTelemetry's form: what took how long, and nothing of what was said.

Imported only where traces are wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from kodify import __version__
from kodify.settings import Settings

log = logging.getLogger(__name__)

FLUSH_S = 2.0  # at the end, what is left goes out within this time or not at all
EXPORT_TIMEOUT_S = 5.0
QUIET_S = 60.0
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

Headers = Iterable[tuple[bytes, bytes]]
Attributes = Mapping[str, str | int | float | bool | Sequence[str]]


class Trace:
    """One request's spans. Methods take times of the monotonic clock."""

    def __init__(self, tracer: Tracer, parent: Context, request_id: str) -> None:
        self._tracer = tracer
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        self._failed = False
        self.span: Span = tracer.start_span(
            "request", context=parent, kind=SpanKind.SERVER, attributes={"kodify.request_id": request_id}
        )
        self._context = set_span_in_context(self.span, Context())

    @property
    def trace_id(self) -> str:
        return f"{self.span.get_span_context().trace_id:032x}"

    def stage(self, name: str, began: float) -> None:
        self._child(name, began).end()

    def generated(self, began: float, attributes: Attributes, *, ttft_ms: float | None, status: int) -> None:
        span = self._child("engine", began, attributes)
        if ttft_ms is not None:
            span.set_attribute("kodify.ttft_ms", round(ttft_ms, 3))
        if status >= 500:
            self._failed = True
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)
        span.end()

    def end(self, method: str, route: str, status: int) -> None:
        """`route` as it stands in the table of routes, empty where none is meant."""
        span, known = self.span, method if method in METHODS else "_OTHER"
        name = known if known in METHODS else "HTTP"
        span.update_name(f"{name} {route}" if route else name)
        span.set_attribute("http.request.method", known)
        if route:
            span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_attribute("error.type", str(status))
        if status >= 500 or self._failed:
            span.set_status(StatusCode.ERROR)
        span.end()

    def _child(self, name: str, began: float, attributes: Attributes | None = None) -> Span:
        start = self._offset_ns + int(began * 1e9)
        return self._tracer.start_span(name, context=self._context, attributes=attributes, start_time=start)


class Tracing:
    """One for each app. Spans are sent by a thread, in batches; when its queue is full the oldest are lost.

    The rest of OpenTelemetry's variables (headers, certificates, the queue's size) are read by its own packages.
    """

    def __init__(self, settings: Settings) -> None:
        base = settings.otel_exporter_otlp_endpoint or ""
        # It would show a header that it can't read, with the token in it.
        logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(endpoint=f"{base.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.otel_traces_sampler_arg)),
            resource=Resource.create({"service.name": settings.otel_service_name, "service.version": __version__}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("kodify", __version__)
        self._seldom = Seldom()
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self._seldom)

    def begin(self, headers: Headers, request_id: str) -> Trace | None:
        """None for a request that the sampler leaves out."""
        trace = Trace(self._tracer, parent_of(headers), request_id)
        return trace if trace.span.is_recording() else None

    async def stop(self) -> None:
        """Sends what is left, if somebody takes it."""
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut_down() -> None:
            self._provider.shutdown()
            for name in LOGGERS:
                logging.getLogger(name).removeFilter(self._seldom)
            with contextlib.suppress(RuntimeError):  # the loop has not waited
                loop.call_soon_threadsafe(done.set)

        # Not the loop's executor: its threads are waited for at the end.
        threading.Thread(target=shut_down, name="traces-end", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_S):
                await done.wait()
        except TimeoutError:
            log.warning("the traces of the last requests could not be sent")
            self._seldom.silent = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # ends its pause between two tries


def parent_of(headers: Headers) -> Context:
    """The span of the caller, by W3C's `traceparent`. Its `tracestate` is the caller's text, and left out."""
    found = [value for name, value in headers if name == b"traceparent"]
    match = _PARENT.fullmatch(found[0]) if len(found) == 1 else None
    if match is None or match[1] == b"ff" or (match[1] == b"00" and match[5]):
        return Context()
    parent = SpanContext(
        int(match[2], 16), int(match[3], 16), is_remote=True, trace_flags=TraceFlags(int(match[4], 16))
    )
    return set_span_in_context(NonRecordingSpan(parent), Context()) if parent.is_valid else Context()


class Seldom(logging.Filter):
    """Lets one record a minute through: a collector that is away for a night is no news each second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._next = float("-inf")
        self.silent = False

    def filter(self, record: logging.LogRecord) -> bool:
        if self.silent or self._clock() < self._next:
            return False
        self._next = self._clock() + QUIET_S
        return True
