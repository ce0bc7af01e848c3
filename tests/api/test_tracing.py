"""Traces: what reaches a collector, what never does, and what happens when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import SecretStr

from kodify.engine.scripted import Script, ScriptedEngine
from kodify.errors import UnavailableError
from kodify.settings import Settings
from kodify.tracing import LOGGERS, QUIET_S, Seldom, Tracing
from tests.conftest import Serve, eventually, free_port, serving

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass
class Collector:
    """OTLP over HTTP; `answers` is clear while it lets its clients wait."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        return [span for one in requests for r in one.resource_spans for s in r.scope_spans for span in s.spans]

    def resource(self) -> dict[str, Any]:
        request = ExportTraceServiceRequest.FromString(self.bodies[0])
        return attributes(request.resource_spans[0].resource)

    def wait_for(self, count: int) -> dict[str, Span]:
        """The one trace's spans by name."""
        eventually(lambda: len(self.spans()) >= count)
        assert len(self.spans()) == count
        return {span.name: span for span in self.spans()}


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    found.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.paths.append(self.path)
            found.bodies.append(body)
            found.answers.wait(60)
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.answers.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def traced(serve: Serve, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")  # milliseconds

    def start(*script: Script, **variables: object) -> Any:
        return serve(*script, **{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **variables})

    return start


def attributes(holder: Any) -> dict[str, Any]:
    return {one.key: plain(one.value) for one in holder.attributes}


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    assert kind is not None
    found = getattr(value, kind)
    return [plain(one) for one in found.values] if kind == "array_value" else found


@pytest.mark.parametrize("stream", [False, True])
def test_a_requests_spans(traced: Callable[..., Any], collector: Collector, stream: bool) -> None:
    served = traced(VLLM_API_KEY=SecretStr("the-only-token-there-is"))
    with served.client(authorization="Bearer the-only-token-there-is", **{"x-request-id": "mine-1"}) as client:
        client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
    spans = collector.wait_for(4)
    root = spans.pop("POST /v1/chat/completions")
    assert collector.paths == ["/v1/traces"] * len(collector.paths)
    assert collector.resource()["service.name"] == "kodify"
    assert root.kind == Span.SPAN_KIND_SERVER
    assert not root.parent_span_id
    assert attributes(root) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "kodify.request_id": "mine-1",
    }
    assert set(spans) == {"auth", "prepare", "engine"}
    for span in spans.values():
        assert (span.trace_id, span.parent_span_id) == (root.trace_id, root.span_id)
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
    ends = [spans[name].end_time_unix_nano for name in ("auth", "prepare", "engine")]
    assert ends == sorted(ends)
    engine = attributes(spans["engine"])
    assert engine.pop("kodify.ttft_ms") >= 0
    assert engine == {
        "gen_ai.request.model": "scripted",
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ["stop"],
        "kodify.cancelled": False,
    }


def test_content_never(traced: Callable[..., Any], collector: Collector) -> None:
    canary = "canary-7f3a"
    served = traced(Script(pieces=(f"I say {canary}", " and ", canary)))
    chat = {"model": "scripted", "messages": [{"role": "user", "content": f"{canary}?"}], "user": canary}
    headers = {"x-other": canary, "cookie": canary, "user-agent": canary, "authorization": f"Bearer {canary}"}
    headers |= {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": f"x={canary}", "baggage": f"x={canary}"}
    with served.client(**headers) as client:
        for stream in (False, True):
            client.post(f"/v1/chat/completions?q={canary}", json={**chat, "stream": stream})
        client.post("/v1/chat/completions", json={**chat, "model": canary})
        client.post("/v1/completions", json={"model": "scripted", "prompt": canary, "echo": True})
        client.post("/v1/completions", content=f'{{"prompt": "{canary}'.encode())
        client.get(f"/{canary}")
    served.engine.script = Script(error=ZeroDivisionError(canary))
    with served.client(**headers) as client:
        client.post("/v1/chat/completions", json=chat)
    eventually(lambda: sum(span.kind == Span.SPAN_KIND_SERVER for span in collector.spans()) == 7)
    assert b"7f3a" not in b"".join(collector.bodies)


@pytest.mark.parametrize(
    ("parent", "taken"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-03", True),
        (f"01-{TRACE}-{PARENT}-01-more", True),  # of a later version
        (f"00-{TRACE}-{PARENT}-01-more", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
        ("canary", False),
    ],
)
def test_the_callers_span(traced: Callable[..., Any], collector: Collector, parent: str, taken: bool) -> None:
    with traced().client(traceparent=parent) as client:
        client.get("/health")
    root = collector.wait_for(1)["GET /health"]
    assert (root.trace_id.hex() == TRACE) == taken
    assert (root.parent_span_id.hex() == PARENT) == taken


def test_what_is_left_out(traced: Callable[..., Any], collector: Collector) -> None:
    with traced(OTEL_TRACES_SAMPLER_ARG=0.0).client() as client:
        client.get("/health", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
        client.get("/health")
        client.get("/ready", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})  # the caller wants it
    assert set(collector.wait_for(1)) == {"GET /ready"}


@pytest.mark.parametrize(
    ("script", "method", "path", "name", "status", "is_error"),
    [
        (Script(), "GET", "/canary", "GET", 404, False),
        (Script(), "PROPFIND", "/v1/models", "HTTP /v1/models", 405, False),
        (
            Script(error=UnavailableError("busy")),
            "POST",
            "/v1/chat/completions",
            "POST /v1/chat/completions",
            503,
            True,
        ),
    ],
)
def test_refusals_and_failures(
    traced: Callable[..., Any],
    collector: Collector,
    script: Script,
    method: str,
    path: str,
    name: str,
    status: int,
    is_error: bool,
) -> None:
    with traced(script).client() as client:
        assert client.request(method, path, json=CHAT).status_code == status
    eventually(lambda: any(span.kind == Span.SPAN_KIND_SERVER for span in collector.spans()))
    (root,) = [span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER]
    assert root.name == name
    told = attributes(root)
    assert told["http.response.status_code"] == status
    assert told.get("error.type") == (str(status) if is_error else None)
    assert (root.status.code == Status.STATUS_CODE_ERROR) == is_error
    assert not root.status.message


def test_a_stream_that_fails_after_its_start(traced: Callable[..., Any], collector: Collector) -> None:
    with traced(Script(error=UnavailableError("busy"))).client() as client:
        assert client.post("/v1/chat/completions", json={**CHAT, "stream": True}).status_code == 200
    spans = collector.wait_for(4)
    for name in ("engine", "POST /v1/chat/completions"):
        assert spans[name].status.code == Status.STATUS_CODE_ERROR
    assert attributes(spans["engine"])["error.type"] == "503"


def test_a_client_that_leaves(traced: Callable[..., Any], collector: Collector) -> None:
    served = traced(Script(endless=True))
    with (
        served.client() as client,
        client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer,
    ):
        next(answer.iter_bytes())
    engine = attributes(collector.wait_for(4)["engine"])
    assert engine["kodify.cancelled"] is True
    assert engine["gen_ai.usage.output_tokens"] > 0


def test_what_is_left_goes_out_at_the_end(settings: Settings, collector: Collector) -> None:
    own = settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url})
    with serving(own, ScriptedEngine()) as served, served.client() as client:
        client.get("/health")
        assert not collector.bodies  # a batch waits five seconds
    assert {span.name for span in collector.spans()} == {"GET /health"}


def test_a_collector_that_hangs_does_not_hold_the_end_up(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kodify.tracing.EXPORT_TIMEOUT_S", 1000.0)
    collector.answers.clear()
    tracing = Tracing(settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url}))
    trace = tracing.begin([], "mine-1")
    assert trace is not None
    trace.end("GET", "/health", 200)
    asyncio.run(tracing.stop())
    eventually(lambda: len(collector.bodies) == 1)  # it still waits for its answer


@pytest.mark.parametrize("hangs", [True, False])
def test_a_collector_that_is_away_fails_no_request(
    traced: Callable[..., Any],
    collector: Collector,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    hangs: bool,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    collector.answers.clear()
    url = collector.url if hangs else f"http://127.0.0.1:{free_port()}"
    with traced(OTEL_EXPORTER_OTLP_ENDPOINT=url).client() as client:
        for _ in range(100):  # more than the queue holds
            assert client.get("/health").status_code == 200
        eventually(lambda: any(one.name in LOGGERS for one in caplog.records))
    assert len([one for one in caplog.records if one.name in LOGGERS]) == 1


def test_the_exporter_speaks_seldom(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    tracing = Tracing(settings.model_copy(update={"otel_exporter_otlp_endpoint": "http://127.0.0.1:1"}))
    for number in range(3):
        for name in LOGGERS:
            logging.getLogger(name).error("%d", number)
    assert [record.getMessage() for record in caplog.records] == ["0"]
    asyncio.run(tracing.stop())
    logging.getLogger(LOGGERS[0]).error("another's")  # this one's filter is gone
    assert caplog.records[-1].getMessage() == "another's"


def test_one_record_a_minute() -> None:
    now = 100.0
    seldom = Seldom(lambda: now)
    record = logging.makeLogRecord({})
    assert [seldom.filter(record), seldom.filter(record)] == [True, False]
    now += QUIET_S
    assert [seldom.filter(record), seldom.filter(record)] == [True, False]
    seldom.silent = True
    now += QUIET_S
    assert not seldom.filter(record)


def test_without_the_setting_nothing_is_imported() -> None:
    code = (
        "import asyncio, sys, httpx\n"
        "from kodify.app import build_app\n"
        "from kodify.engine.scripted import ScriptedEngine\n"
        "from kodify.settings import Settings\n"
        "app = build_app(Settings(_env_file=None), ScriptedEngine())\n"
        "app.state.ready = True\n"
        "async def main():\n"
        "    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url='http://x') as client:\n"
        "        return await client.get('/health')\n"
        "asyncio.run(main()).raise_for_status()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317"])
def test_an_endpoint_is_an_address(endpoint: str) -> None:
    with pytest.raises(ValueError, match="begins with http"):
        Settings(_env_file=None, otel_exporter_otlp_endpoint=endpoint)
