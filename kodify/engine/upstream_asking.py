"""One request at the other servers: sent to one of them, and on to the next while nothing has been told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import msgspec

from kodify.engine.upstream_errors import Refused, of_missing_route, of_status, of_transport
from kodify.engine.upstream_pool import Pool, Upstream
from kodify.errors import EngineFailedError, UnavailableError

log = logging.getLogger(__name__)

# A request that kills the server that reads it must not go on to kill them all.
MOST_TRIES = 3
UNREADABLE = (msgspec.MsgspecError, ValueError, KeyError, TypeError, AttributeError)
BROKEN = (httpx.HTTPError, httpx.StreamError)
LINGER_S = 1.0  # for the end of a body after its last event: then the connection can be used again

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Call:
    """`key_header`: where the upstream's api_key goes too."""

    model: str
    path: str
    body: dict[str, Any]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    headers: dict[str, str] = field(default_factory=dict)
    key_header: str | None = None


class Answer:
    """What one upstream says."""

    def __init__(self, client: httpx.AsyncClient, upstream: Upstream, call: Call, content: bytes) -> None:
        self.label = upstream.label
        self._client = client
        self._upstream = upstream
        self._call = call
        self._content = content
        self._response: httpx.Response | None = None
        self.rest: AsyncIterator[bytes] | None = None  # of a body that has told all

    async def response(self) -> httpx.Response:
        """Of 200: its body is still to come. Raises Refused."""
        found = self._response = await self._sent()
        if found.status_code != 200:
            status, answer, call = found.status_code, await found.aread(), self._call
            missing = of_missing_route(status, answer, call.model, call.path)
            raise missing or of_status(status, answer, found.headers.get("retry-after"), self.label)
        return found

    async def whole(self, read: Callable[[bytes], Read]) -> Read:
        content = await (await self.response()).aread()
        return self.read(read, content)

    def read(self, read: Callable[[bytes], Read], data: bytes) -> Read:
        """Raises Refused where `read` can't do it."""
        try:
            return read(data)
        except UNREADABLE as error:
            log.error("the upstream %s says what can't be read: %s", self.label, type(error).__name__)
            raise Refused(EngineFailedError()) from None

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()

    async def linger(self, rest: AsyncIterator[bytes]) -> None:
        with contextlib.suppress(TimeoutError, *BROKEN):
            try:
                async with asyncio.timeout(LINGER_S):
                    async for _ in rest:
                        pass
            finally:
                await self.close()

    async def _sent(self) -> httpx.Response:
        call, upstream = self._call, self._upstream
        # An encoded answer would be held back until there is enough of it to encode.
        headers = {"content-type": "application/json", "accept-encoding": "identity", "x-request-id": call.id}
        if call.key_header is not None and upstream.options.api_key:
            headers[call.key_header] = upstream.options.api_key
        request = self._client.build_request(
            "POST",
            upstream.base + call.path,
            content=self._content,
            headers=headers | call.headers | upstream.headers,
            timeout=upstream.timeout,
        )
        try:
            return await self._client.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            # A kept connection may have been closed at the other end meanwhile.
            try:
                return await self._client.send(request, stream=True)
            except httpx.ConnectError:
                raise error from None


class Asking:
    """One for each call. `told`: something of the answer has left this house, no other upstream may begin again."""

    def __init__(self, pool: Pool, call: Call) -> None:
        self.told = False
        self._pool = pool
        self._call = call
        self._content = json.dumps(call.body).encode()  # orjson refuses lone surrogates and large numbers
        self._tried: set[Upstream] = set()
        self._tries = 0
        self._refused = Refused(UnavailableError(retry_after_s=1))

    @asynccontextmanager
    async def attempt(self) -> AsyncGenerator[Answer, None]:
        """At the next upstream: to be made again until one gets to its end. What goes wrong within is forgotten
        where another upstream may do better, else raised as the KodifyError that the client is told."""
        upstream = self._pool.choose(self._call.model, self._tried)
        if upstream is None:
            raise self._refused.error
        self._tried.add(upstream)
        upstream.running += 1
        upstream.requests += 1
        answer = Answer(self._pool.client, upstream, self._call, self._content)
        try:
            try:
                yield answer
            finally:
                if answer.rest is None:
                    await answer.close()
                else:
                    self._linger(answer, answer.rest)
        except BROKEN as error:
            self._go_on(upstream, of_transport(error, upstream.label))
        except Refused as refused:
            self._go_on(upstream, refused)
        else:
            upstream.succeed()
        finally:
            upstream.running -= 1

    async def whole(self, read: Callable[[bytes], Read]) -> Read:
        """The answer, when all of it is there."""
        while True:
            async with self.attempt() as answer:
                return await answer.whole(read)

    def _linger(self, answer: Answer, rest: AsyncIterator[bytes]) -> None:
        """Without the client, who has its answer."""
        lingering = self._pool.lingering
        task = asyncio.create_task(answer.linger(rest))
        lingering.add(task)
        task.add_done_callback(lingering.discard)

    def _go_on(self, upstream: Upstream, refused: Refused) -> None:
        """To the next one, or raises."""
        if refused.fails:
            upstream.fail()
        elif not refused.final:
            upstream.failures += 1
        self._refused = refused
        self._tries += refused.reached
        if self.told or refused.final or self._tries >= MOST_TRIES:
            raise refused.error from None
