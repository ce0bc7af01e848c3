"""Odd clients on a raw socket."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import pytest

from kodify.engine.scripted import Script, ScriptedEngine
from tests.conftest import Serve, Served, eventually

CHAT = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}).encode()


def talk(served: Served, *pieces: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", int(served.url.rsplit(":", 1)[1])), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while part := connection.recv(65536):
            answer += part
            if b"\r\n\r\n" in answer and (b"}" in answer):
                break
    return answer


def head(path: str, length: int, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode()


def test_a_client_that_offers_http2_is_answered(serve: Serve) -> None:
    offer = (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    )
    served = serve()
    first = head("/v1/chat/completions", len(CHAT), *offer)
    for pieces in ((first + CHAT,), (first, CHAT)):
        assert talk(served, *pieces).startswith(b"HTTP/1.1 200 OK")


def test_malformed_http_has_the_error_shape(serve: Serve) -> None:
    answer = talk(serve(), b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: abc\r\n\r\n")
    start, _, content = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 400 Bad Request")
    assert json.loads(content)["error"]["type"] == "BadRequestError"


def test_a_websocket_on_a_route_that_has_none(serve: Serve) -> None:
    upgrade = b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    assert talk(serve(), upgrade).startswith(b"HTTP/1.1 404 Not Found")


def test_a_slow_reader_that_leaves_is_no_bug(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = serve(Script(endless=True))
    engine: Any = served.engine
    assert isinstance(engine, ScriptedEngine)
    body = json.dumps({**json.loads(CHAT), "stream": True}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(served.url.rsplit(":", 1)[1])))
        connection.sendall(head("/v1/chat/completions", len(body)) + body)
        connection.recv(1000)
        eventually(lambda: engine.running() == 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: engine.running() == 0)
    assert engine.cancelled == 1
    assert "Exception" not in caplog.text


@pytest.mark.parametrize("field", ["model", "user"])
def test_a_lone_surrogate_is_the_callers_mistake(serve: Serve, field: str) -> None:
    body = CHAT[:-1] + b', "%b": "\\ud800"}' % field.encode()
    answer = talk(serve(), head("/v1/chat/completions", len(body)) + body)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"lone surrogate" in answer
