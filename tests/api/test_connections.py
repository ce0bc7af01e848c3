"""Slow, greedy and numerous clients on raw sockets: each is ended, and told why where it can be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from pydantic import SecretStr

from kodify import connections, http_protocol
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.http_connection import HURRY
from kodify.settings import Settings
from tests.conftest import Serve, Served, eventually, serving

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
SOON_S = 0.4  # a crowded machine is seldom slower than this to send what it has


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's: their transports differ."""
    if request.param == "uvloop":
        monkeypatch.setattr(asyncio, "run", uvloop.run)


@contextlib.contextmanager
def connected(served: Served, receive_bytes: int | None = None) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", int(served.url.rsplit(":", 1)[1])))
        yield connection


def post(body: dict[str, Any], *lines: str, length: int | None = None) -> bytes:
    data = json.dumps(body).encode()
    head = ["POST /v1/chat/completions HTTP/1.1", "host: x", *lines]
    if length != 0:
        head.append(f"content-length: {length or len(data)}")
    return "\r\n".join([*head, "", ""]).encode() + data


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            received += part
    return received


def answer(connection: socket.socket) -> bytes:
    """One answer that tells its length."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(1)
        assert part, "the connection ended before an answer"
        received += part
    length = next(int(line[15:]) for line in received.split(b"\r\n") if line.startswith(b"content-length:"))
    while length:
        part = connection.recv(length)
        assert part, "the connection ended in the middle of an answer"
        received, length = received + part, length - len(part)
    return received


def assert_refused(received: bytes, status: int) -> bytes:
    head, _, content = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), received[:200]
    assert b"connection: close" in head
    body = json.loads(content)
    assert body["code"] == body["error"]["code"] == status
    return head


def cut(served: Served, reason: str) -> float:
    value = served.app.state.metrics.registry.get_sample_value("kodify_connections_cut_total", {"reason": reason})
    assert value is not None
    return float(value)


def engine_of(served: Served) -> ScriptedEngine:
    assert isinstance(served.engine, ScriptedEngine)
    return served.engine


MOST_UNREAD = 8_000_000

BEGUN = [b"P", b"\r\n", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-"]


@pytest.mark.parametrize(("begun", "is_first"), [(b"", True), *((b, first) for b in BEGUN for first in (True, False))])
def test_a_head_that_does_not_come_in_time_ends_the_connection(serve: Serve, begun: bytes, is_first: bool) -> None:
    served = serve(HEADER_TIMEOUT_S=SOON_S)
    with connected(served) as connection:
        if not is_first:
            connection.sendall(HEALTH)
            assert answer(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(begun)
        assert rest(connection) == b""
    assert cut(served, "header_timeout") == 1


def test_one_byte_at_a_time_gains_no_time(serve: Serve) -> None:
    served = serve(HEADER_TIMEOUT_S=SOON_S)
    with connected(served) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nx: ")
        with pytest.raises(OSError):  # it is closed
            for _ in range(1000):
                connection.sendall(b"x")
                time.sleep(SOON_S / 10)
    assert cut(served, "header_timeout") == 1


def test_a_body_that_does_not_come_in_time_is_answered(serve: Serve) -> None:
    served = serve(BODY_TIMEOUT_S=SOON_S)
    with connected(served) as connection:
        connection.sendall(post(CHAT, length=10_000))
        assert_refused(rest(connection), 408)
    assert cut(served, "body_timeout") == 1
    assert not engine_of(served).jobs


def test_a_body_that_does_not_come_after_its_answer_ends_the_connection(serve: Serve) -> None:
    served = serve(BODY_TIMEOUT_S=SOON_S, VLLM_API_KEY=SecretStr("sesame"))
    with connected(served) as connection:
        connection.sendall(post(CHAT, length=10_000))
        assert answer(connection).startswith(b"HTTP/1.1 401")
        assert rest(connection) == b""
    assert cut(served, "body_timeout") == 1


def test_an_answer_may_take_longer_than_a_request(serve: Serve) -> None:
    served = serve(Script(endless=True), HEADER_TIMEOUT_S=SOON_S, BODY_TIMEOUT_S=SOON_S, KEEPALIVE_S=SOON_S)
    with connected(served) as connection:
        connection.sendall(post(CHAT) + b"\r\n")  # some clients end a body so
        eventually(lambda: engine_of(served).running() == 1)
        time.sleep(2 * SOON_S)
        assert engine_of(served).running() == 1
    eventually(lambda: engine_of(served).running() == 0)


def test_an_idle_connection_is_closed_after_a_while(serve: Serve) -> None:
    with connected(serve(KEEPALIVE_S=SOON_S)) as connection:
        for _ in range(2):
            connection.sendall(HEALTH)
            assert answer(connection).startswith(b"HTTP/1.1 200")
        assert rest(connection) == b""


@pytest.mark.parametrize("body", ["x", "xxx"])
def test_a_connection_whose_body_comes_after_its_answer_is_closed_too(serve: Serve, body: str) -> None:
    served = serve(KEEPALIVE_S=SOON_S, VLLM_API_KEY=SecretStr("sesame"))
    with connected(served) as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body))
        assert answer(connection).startswith(b"HTTP/1.1 401")
        for one in body:
            connection.sendall(one.encode())
        assert rest(connection) == b""
    eventually(lambda: served.app.state.connections.open == 0)


def test_what_follows_a_late_body_may_take_its_time(serve: Serve) -> None:
    served = serve(Script(endless=True), KEEPALIVE_S=0.05, VLLM_API_KEY=SecretStr("sesame"))
    with connected(served) as connection:
        connection.sendall(HEAD + b"content-length: 1\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 401")
        connection.sendall(b"x" + post(CHAT, "authorization: Bearer sesame"))
        eventually(lambda: engine_of(served).running() == 1)
        time.sleep(0.5)
        assert engine_of(served).running() == 1
    eventually(lambda: engine_of(served).running() == 0)


OFFER = b"POST /x HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\r\n"


def test_a_body_that_looks_like_an_offer_of_http_2_is_left_as_it_is(serve: Serve) -> None:
    served = serve(VLLM_API_KEY=SecretStr("sesame"))
    with connected(served) as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(OFFER))
        assert answer(connection).startswith(b"HTTP/1.1 401")
        connection.sendall(OFFER)
        connection.sendall(HEALTH)
        assert answer(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("lines", [("upgrade: h2c", "x: y"), ("x: y", "upgrade: h2c")])
def test_an_offer_of_http_2_is_declined_with_each_request(serve: Serve, lines: tuple[str, str]) -> None:
    with connected(serve()) as connection:
        for _ in range(2):
            head, blank, body = post(CHAT).partition(b"\r\n\r\n")
            offer = "\r\n".join(["", "connection: Upgrade", *lines]).encode()
            connection.sendall(head + offer + blank + body)
            assert answer(connection).startswith(b"HTTP/1.1 200")


LINES = [f"x-{number}: y" for number in range(http_protocol.MOST_HEAD_LINES)]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(CHAT, *LINES[:98]), 200),
        (post(CHAT, *LINES), 431),
        (post(CHAT, "x: " + "y" * 60_000), 200),
        (post(CHAT, "x: " + "y" * 65_000, "z: " + "y" * 1_000), 431),
        (b"GET /health HTTP/1.1\r\nx: " + b"y" * 400_000, 431),
        (b"GET /health HTTP/1.1\r\n" + b"x" * 400_000, 431),
        (b"GET /health?" + b"x" * 15_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        (b"GET /health?" + b"x" * 17_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET /" + b"x" * 400_000, 414),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1 << 20, 10_000])
def test_heads_have_a_size(serve: Serve, request_bytes: bytes, status: int, piece_bytes: int) -> None:
    served = serve()
    with connected(served) as connection:
        with contextlib.suppress(ConnectionError):  # the server may have closed by then
            for start in range(0, len(request_bytes), piece_bytes):
                connection.sendall(request_bytes[start : start + piece_bytes])
        if status == 200:
            assert answer(connection).startswith(b"HTTP/1.1 200")
        else:
            assert_refused(rest(connection), status)
    assert cut(served, "head_too_large") == (status in (414, 431))


def chunked(trailer: bytes) -> bytes:
    data = json.dumps(CHAT).encode()
    head = post({}, "transfer-encoding: chunked", length=0)[:-2]
    return head + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(data), data, trailer)


def test_a_trailer_is_no_header(serve: Serve) -> None:
    served = serve(VLLM_API_KEY=SecretStr("sesame"))
    with connected(served) as connection:
        connection.sendall(chunked(b"authorization: Bearer sesame\r\n"))
        assert answer(connection).startswith(b"HTTP/1.1 401")


def test_a_trailer_has_a_size(serve: Serve) -> None:
    served = serve(Script(endless=True))
    with connected(served) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(chunked(b"")[:-2] + b"x: ")
            for _ in range(100):
                connection.sendall(b"y" * 10_000)
        assert_refused(rest(connection), 431)
    eventually(lambda: engine_of(served).running() == 0)


def test_a_stream_that_is_not_read_is_cut(serve: Serve) -> None:
    served = serve(Script(endless=True), MAX_UNREAD_BYTES=64 * 1024)
    with connected(served, receive_bytes=4096) as connection:
        connection.sendall(post({**CHAT, "stream": True}))
        eventually(lambda: cut(served, "unread") == 1)
        eventually(lambda: engine_of(served).running() == 0)
    assert engine_of(served).cancelled == 1


@pytest.mark.parametrize("others_wait", [True, False])
def test_an_unread_stream_is_cut_sooner_where_others_wait(settings: Settings, others_wait: bool) -> None:
    """It goes on for as long as nobody else has a use for the engine."""
    engine = ScriptedEngine(Script(pieces=("x" * 10_000,) * 10_000, pause_s=0.005), most_running=1)
    own = settings.model_copy(update={"max_unread_bytes": MOST_UNREAD})
    with serving(own, engine) as served, connected(served, receive_bytes=4096) as stuck, connected(served) as other:
        eventually(lambda: bool(served.app.state.ready))
        stuck.sendall(post({**CHAT, "stream": True}))
        eventually(lambda: engine.running() == 1)
        if others_wait:
            other.sendall(post({**CHAT, "stream": True}))
            assert other.recv(17) == b"HTTP/1.1 200 OK\r\n"
            assert cut(served, "unread") == 1
        else:
            (answer,) = served.app.state.running
            eventually(lambda: answer.encoder.outlet._waiting_bytes > MOST_UNREAD // HURRY)
            assert cut(served, "unread") == 0


def test_a_byte_now_and_then_is_no_reading(serve: Serve) -> None:
    served = serve(Script(pieces=("x" * WHOLE,)), UNREAD_TIMEOUT_S=0.5)
    with connected(served, receive_bytes=4096) as connection:
        connection.sendall(post(CHAT))
        with contextlib.suppress(ConnectionResetError):
            while cut(served, "unread") == 0:
                connection.recv(100)
                time.sleep(0.05)
        assert cut(served, "unread") == 1


WHOLE = 16_000_000  # more than the kernel keeps of it


@pytest.mark.parametrize("close", [True, False])
def test_an_answer_that_is_not_read_does_not_hold_its_connection(serve: Serve, close: bool) -> None:
    served = serve(Script(pieces=("x" * WHOLE,)), UNREAD_TIMEOUT_S=SOON_S)
    with connected(served, receive_bytes=4096) as connection:
        connection.sendall(post(CHAT, *(["connection: close"] if close else [])))
        eventually(lambda: cut(served, "unread") == 1)
        eventually(lambda: served.app.state.connections.open == 0)


def test_what_the_kernel_keeps_of_an_answer_does_not_hold_its_connection_either(serve: Serve) -> None:
    served = serve(Script(pieces=("x" * 200_000,)), UNREAD_TIMEOUT_S=SOON_S)
    with connected(served, receive_bytes=4096) as connection:
        connection.sendall(post(CHAT))
        eventually(lambda: cut(served, "unread") == 1)
        eventually(lambda: served.app.state.connections.open == 0)


@pytest.mark.parametrize("pause_s", [0, 0.2])
def test_a_large_answer_is_delivered_to_who_reads(serve: Serve, pause_s: float) -> None:
    served = serve(Script(pieces=("x" * WHOLE,)), UNREAD_TIMEOUT_S=2, MAX_UNREAD_BYTES=1024)
    with connected(served) as connection:
        connection.sendall(post(CHAT, "connection: close"))
        received = bytearray()
        while part := connection.recv(1 << 20, socket.MSG_WAITALL):
            received += part
            time.sleep(pause_s)
    assert received.count(b"x" * 1000) == WHOLE // 1000
    assert cut(served, "unread") == 0


def test_requests_in_a_row_are_answered_in_order(serve: Serve) -> None:
    with connected(serve()) as connection:
        connection.sendall(HEALTH + b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n" + post(CHAT) + HEALTH)
        assert [answer(connection)[9:12] for _ in range(4)] == [b"200", b"404", b"200", b"200"]


def test_too_many_requests_in_a_row_end_the_connection(serve: Serve) -> None:
    served = serve(Script(endless=True))
    with connected(served) as connection:
        connection.sendall(post(CHAT) + HEALTH * http_protocol.MOST_PIPELINED)
        eventually(lambda: engine_of(served).running() == 1)
        connection.sendall(HEALTH)
        assert rest(connection) == b""
    eventually(lambda: engine_of(served).running() == 0)
    assert cut(served, "pipelined") == 1


def test_a_large_request_in_a_row_ends_the_connection(serve: Serve) -> None:
    served = serve(Script(endless=True))
    with connected(served) as connection:
        connection.sendall(post(CHAT))
        eventually(lambda: engine_of(served).running() == 1)
        with contextlib.suppress(ConnectionError):
            connection.sendall(HEAD + b"content-length: 1000000\r\n\r\n" + b"x" * 100_000)
        eventually(lambda: engine_of(served).running() == 0)
        assert rest(connection) == b""
    assert cut(served, "pipelined") == 1
    assert engine_of(served).cancelled == 1


def test_a_request_in_a_row_may_be_as_large_as_what_is_read_ahead(serve: Serve) -> None:
    large = {**CHAT, "messages": [{"role": "user", "content": "x" * 60_000}]}
    with connected(serve()) as connection:
        connection.sendall(post(CHAT) + post(large) + post(large))
        assert [answer(connection)[9:12] for _ in range(3)] == [b"200"] * 3


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_with_requests_in_a_row_is_seen(serve: Serve, stream: bool) -> None:
    served = serve(Script(endless=True))
    with connected(served) as connection:
        connection.sendall(post({**CHAT, "stream": stream}) + HEALTH + HEALTH)
        eventually(lambda: engine_of(served).running() == 1)
    eventually(lambda: engine_of(served).running() == 0)
    assert engine_of(served).cancelled == 1


def test_what_is_wrong_with_a_second_request_is_not_told_within_the_first_answer(serve: Serve) -> None:
    served = serve(Script(endless=True))
    with connected(served) as connection:
        connection.sendall(post({**CHAT, "stream": True}))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"no HTTP\r\n\r\n")
        assert b"HTTP/1.1 400" not in rest(connection)
    eventually(lambda: engine_of(served).running() == 0)


@pytest.mark.parametrize("variable", ["MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS"])
def test_a_connection_too_many_is_told_so(serve: Serve, variable: str) -> None:
    served = serve(**{variable: 2})
    with connected(served) as first, connected(served):
        first.sendall(HEALTH)
        assert answer(first).startswith(b"HTTP/1.1 200")
        with connected(served) as third:
            third.sendall(post(CHAT))
            head = assert_refused(rest(third), 503)
            assert b"\r\nretry-after: 5\r\n" in head
        assert cut(served, "too_many") == 1
        with connected(served) as silent:
            assert_refused(rest(silent), 503)
        assert cut(served, "too_many") == 2
        first.sendall(HEALTH)
        assert answer(first).startswith(b"HTTP/1.1 200")
    eventually(lambda: served.app.state.connections.open == 0)
    with connected(served) as another:
        another.sendall(HEALTH)
        assert answer(another).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/health?from=supervisor"])
def test_a_probe_is_answered_over_a_connection_too_many(serve: Serve, path: str) -> None:
    served = serve(MAX_CONNECTIONS=1)
    eventually(lambda: bool(served.app.state.ready))
    with connected(served) as first, connected(served) as probe:
        first.sendall(HEALTH)
        assert answer(first).startswith(b"HTTP/1.1 200")
        probe.sendall(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode())
        received = rest(probe)
        assert received.startswith(b"HTTP/1.1 200")
        assert received.count(b"HTTP/1.1 ") == received.count(b"connection: close") == 1
    assert cut(served, "too_many") == 0


def test_a_flood_is_not_told_anything(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_TOLD", 0)
    served = serve(MAX_CONNECTIONS=1)
    with connected(served) as first:
        first.sendall(HEALTH)
        assert answer(first).startswith(b"HTTP/1.1 200")
        with connected(served) as second:
            assert rest(second) == b""
        first.sendall(HEALTH)
        assert answer(first).startswith(b"HTTP/1.1 200")
