"""WebSockets on the wire: handshakes that are none, clients that trickle, flood or do not read."""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kodify.engine.scripted import Script
from tests.chats.conftest import Begin, Talk
from tests.conftest import eventually

KEY = base64.b64encode(b"0123456789abcdef").decode()
LINES = {
    "Host": "kodify",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


@contextmanager
def raw(talk: Talk) -> Iterator[socket.socket]:
    host, port = talk.served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        yield connection


def head(path: str, lines: dict[str, str], method: str = "GET") -> bytes:
    told = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{told}\r\n".encode()


def answer(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    return data


def frame(data: bytes, opcode: int = 1, *, fin: bool = True, masked: bool = True) -> bytes:
    first = bytes([(0x80 if fin else 0) | opcode])
    bit = 0x80 if masked else 0
    length = bytes([bit | len(data)])  # of short ones only
    if not masked:
        return first + length + data
    mask = os.urandom(4)
    return first + length + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


@pytest.mark.parametrize(
    ("change", "method"),
    [
        ({"Sec-WebSocket-Version": "12"}, "GET"),
        ({"Sec-WebSocket-Key": "short"}, "GET"),
        ({"Sec-WebSocket-Key": ""}, "GET"),
        ({}, "POST"),
        ({"X-Long": "x" * 9000}, "GET"),
    ],
)
def test_a_handshake_that_is_none_is_400(begin: Begin, change: dict[str, str], method: str) -> None:
    talk = begin()
    with raw(talk) as connection:
        connection.sendall(head(f"{talk.path}/ws", {**LINES, **change}, method))
        told = answer(connection)
    assert told.startswith(b"HTTP/1.1 400 ")
    assert b'"type":"BadRequestError"' in told


@pytest.mark.parametrize("path", ["/health", "/api/v1/chats", "/nowhere", "/api/v1/chat/a/b/ws"])
def test_elsewhere_it_is_a_plain_request(begin: Begin, path: str) -> None:
    talk = begin()
    with raw(talk) as connection:
        connection.sendall(head(path, LINES))
        told = answer(connection)
    assert told.split(b" ", 2)[1] in (b"200", b"404")


def test_a_plain_request_has_no_socket(begin: Begin) -> None:
    talk = begin()
    assert talk.ask("GET", "/ws").status_code == 404


def test_what_comes_right_behind_the_handshake_is_heard(begin: Begin) -> None:
    talk = begin()
    with raw(talk) as connection:
        connection.sendall(head(f"{talk.path}/ws", LINES) + frame(b'{"type":"send","message":"Hi"}'))
        assert answer(connection).startswith(b"HTTP/1.1 101 ")
        talk.answered(content="Hello, world")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"{}", masked=False), 1002),
        (frame(b"\xff\xfe"), 1007),
        (frame(b"", opcode=3), 1002),
        (frame(b"x", opcode=0), 1002),
    ],
    ids=["not masked", "not UTF-8", "an unknown kind", "a part of nothing"],
)
def test_frames_that_are_none_end_the_socket(begin: Begin, sent: bytes, code: int) -> None:
    talk = begin()
    with raw(talk) as connection:
        connection.sendall(head(f"{talk.path}/ws", LINES))
        answer(connection)
        connection.sendall(sent)
        told = rest_of(connection)
    assert told[:1] == b"\x88"
    assert struct.unpack("!H", told[2:4]) == (code,)
    eventually(lambda: talk.served.app.state.connections.open == 0)


def test_a_message_must_be_whole_in_time(begin: Begin) -> None:
    talk = begin(BODY_TIMEOUT_S=0.5)
    with raw(talk) as connection:
        connection.sendall(head(f"{talk.path}/ws", LINES))
        answer(connection)
        connection.sendall(frame(b"", fin=False))
        rest_of(connection)
    with raw(talk) as connection:
        connection.sendall(head(f"{talk.path}/ws", LINES))
        answer(connection)
        connection.sendall(frame(b"x" * 100)[:20])
        rest_of(connection)
    assert cut(talk, "body_timeout") == 2


def test_who_does_not_read_is_cut_off_and_the_answer_goes_on(begin: Begin) -> None:
    pieces = [("word " * 2000) for _ in range(600)]
    talk = begin(Script(pieces=pieces, pause_s=0.001), UNREAD_TIMEOUT_S=1.0)
    with raw(talk) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(f"{talk.path}/ws", LINES))
        answer(connection)
        talk.say("Hi")
        eventually(lambda: talk.served.app.state.connections.sockets == 0)
    assert cut(talk, "unread") >= 1
    assert len(talk.answered(status="done")["content"]) == 6_000_000


def test_a_flood_of_pings_is_answered_only_as_far_as_it_is_read(begin: Begin) -> None:
    talk = begin(UNREAD_TIMEOUT_S=1.0)
    with raw(talk) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(f"{talk.path}/ws", LINES))
        answer(connection)
        connection.settimeout(2)
        flood = frame(b"x" * 125, opcode=9) * 1000
        with pytest.raises(OSError):  # the server reads no more, or has closed
            for _ in range(1000):
                connection.sendall(flood)
    eventually(lambda: talk.served.app.state.connections.open == 0)


def test_a_ping_is_answered(begin: Begin) -> None:
    talk = begin()
    with talk.socket() as socket_:
        assert socket_.connection.ping().wait(30)


def cut(talk: Talk, reason: str) -> float:
    with talk.served.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return next(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith(f'kodify_connections_cut_total{{reason="{reason}"}}')
    )
