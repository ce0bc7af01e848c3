"""A request's id: taken where it is sane, in the answer, in the log, and in the access line."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from kodify import logs
from kodify.engine.scripted import Script, ScriptedEngine
from tests.api.test_wire import head, talk
from tests.conftest import Serve, eventually

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
OWN = re.compile(r"[0-9a-f]{32}")


class Kept(logging.Handler):
    """Formats when it hears, as a stream would: the id is the context's."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.JSONFormatter(str))
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))

    def of(self, logger: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["logger"] == logger]


@pytest.fixture
def kept(caplog: pytest.LogCaptureFixture) -> Iterator[Kept]:
    caplog.set_level(logging.INFO)
    handler = Kept()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("given", ["mine-1", "a" * 128, "00-4bf9:x.y_z"])
def test_a_sane_id_is_kept(serve: Serve, given: str) -> None:
    with serve().client(**{"x-request-id": given}) as client:
        assert client.get("/health").headers["x-request-id"] == given
        assert client.get("/nowhere").headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given",
    [b"", b"a" * 129, b"two words", b"a;b", b'"quoted"', b"<script>", b"\xd0\xb8", b"a\tb", b"mine-1\x1b[2J", b"a,b"],
)
def test_an_odd_id_is_replaced(serve: Serve, given: bytes) -> None:
    answer = talk(serve(), b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-request-id: %b\r\n\r\n" % given)
    if answer.startswith(b"HTTP/1.1 400"):
        return  # no header at all
    found = re.search(rb"\r\nx-request-id: ([^\r]*)\r\n", answer)
    assert found is not None and OWN.fullmatch(found[1].decode())


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_an_id_can_add_no_header(serve: Serve, end: bytes) -> None:
    answer = talk(serve(), b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-request-id: a%bset-cookie: b\r\n\r\n" % end)
    assert b"set-cookie" not in answer.lower()


@pytest.mark.parametrize("script", [Script(error=ZeroDivisionError("x")), None], ids=["engine", "handler"])
def test_a_bug_is_logged_with_the_id(
    serve: Serve, kept: Kept, monkeypatch: pytest.MonkeyPatch, script: Script | None
) -> None:
    served = serve(script)
    if script is None:
        monkeypatch.setattr(served.engine, "parse_chat", lambda body: 1 / 0)
    with served.client(**{"x-request-id": "mine-1"}) as client:
        answer = client.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine-1")
    (line,) = [line for line in kept.lines if line["level"] == "error"]
    assert (line["message"], line["request_id"], line["exception"]["type"]) == ("a bug", "mine-1", "ZeroDivisionError")


def test_what_outlives_a_request_is_not_about_it(serve: Serve, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(ACCESS_LOG=True)
    ended = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def outlive() -> None:
        logging.getLogger("test").warning("during")
        await ended.wait()
        logging.getLogger("test").warning("after")

    def parse_chat(body: Any) -> Any:
        tasks.append(asyncio.create_task(outlive()))
        return ScriptedEngine().parse_chat(body)

    monkeypatch.setattr(served.engine, "parse_chat", parse_chat)
    with served.client(**{"x-request-id": "mine-1"}) as client:
        client.post("/v1/chat/completions", json=CHAT)
    eventually(lambda: bool(kept.of("kodify.access")))
    served.loop.call_soon_threadsafe(ended.set)
    eventually(lambda: len(kept.of("test")) == 2)
    assert [line.get("request_id") for line in kept.of("test")] == ["mine-1", None]


def test_requests_of_one_connection_have_each_their_own(serve: Serve, kept: Kept) -> None:
    with serve(ACCESS_LOG=True).client() as client:
        for number in range(3):
            client.get("/health", headers={"x-request-id": f"r{number}"})
    eventually(lambda: len(kept.of("kodify.access")) == 3)
    assert [line["request_id"] for line in kept.of("kodify.access")] == ["r0", "r1", "r2"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_access_line(serve: Serve, kept: Kept, stream: bool) -> None:
    served = serve(ACCESS_LOG=True, VLLM_API_KEY=SecretStr("the-only-token-there-is"))
    with served.client(authorization="Bearer the-only-token-there-is", **{"x-request-id": "mine-1"}) as client:
        client.post("/v1/chat/completions?q=1", json={**CHAT, "stream": stream})
    eventually(lambda: len(kept.of("kodify.access")) == 1)
    (line,) = kept.of("kodify.access")
    times = [line.pop("duration_ms"), line.pop("ttft_ms")]
    assert all(isinstance(one, float) and one >= 0 for one in times)
    line.pop("timestamp")
    assert re.fullmatch(
        r"POST /v1/chat/completions 200 [\d.]+ ms, first text [\d.]+ ms, user -, client 127\.0\.0\.1",
        line.pop("message"),
    )
    assert line == {
        "level": "info",
        "logger": "kodify.access",
        "request_id": "mine-1",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "user": None,
        "client": "127.0.0.1",
        "cancelled": False,
    }


def test_a_client_that_leaves_is_told_of(serve: Serve, kept: Kept) -> None:
    with (
        serve(Script(endless=True), ACCESS_LOG=True).client() as client,
        client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer,
    ):
        next(answer.iter_bytes())
    eventually(lambda: bool(kept.of("kodify.access")))
    (line,) = kept.of("kodify.access")
    assert (line["status"], line["cancelled"]) == (200, True)


def test_no_access_line_unasked(serve: Serve, kept: Kept) -> None:
    with serve().client() as client:
        client.get("/nowhere/forged")
        client.post("/v1/chat/completions", json=CHAT)
    assert not kept.of("kodify.access")


def test_a_path_without_a_route_is_not_logged(serve: Serve, kept: Kept) -> None:
    answer = talk(serve(ACCESS_LOG=True), head("/canary%0d%0aforged", 0))
    assert answer.startswith(b"HTTP/1.1 404")
    eventually(lambda: bool(kept.of("kodify.access")))
    assert [line["route"] for line in kept.of("kodify.access")] == ["none"]
    assert not any("canary" in str(line) for line in kept.lines)
