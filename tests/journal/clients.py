"""Clients that know when the end of an answer has arrived."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def request(name: str, *, stream: bool, text: str = "hi") -> bytes:
    content = {"model": "scripted", "messages": [{"role": "user", "content": text}], "stream": stream}
    body = json.dumps(content).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-id: {name}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def ask(streams: Streams, name: str, *, stream: bool, text: str = "hi") -> int:
    """Returns the status when the answer has arrived whole."""
    reader, writer = streams
    writer.write(request(name, stream=stream, text=text))
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length" in head:
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
    else:
        await reader.readuntil(b"0\r\n\r\n")
    return int(head[9:12])


class Clients:
    """Ask over kept connections, each request with an id of its own; `answered` are those whose answer has ended."""

    def __init__(self, port: int, prefix: str = "r") -> None:
        self._port = port
        self._prefix = prefix
        self._begun = 0
        self.answered: list[str] = []
        self.statuses: Counter[int] = Counter()

    async def run(self, requests: int, at_once: int, pause_s: float = 0) -> None:
        """Every other one is streamed. Ends early where the server does."""
        await asyncio.gather(*(self._ask(requests, pause_s) for _ in range(at_once)))

    async def _ask(self, requests: int, pause_s: float) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with connected(self._port) as streams:
                while self._begun < requests:
                    self._begun += 1
                    name = f"{self._prefix}{self._begun}"
                    self.statuses[await ask(streams, name, stream=bool(self._begun % 2))] += 1
                    self.answered.append(name)
                    await asyncio.sleep(pause_s)
