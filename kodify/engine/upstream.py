"""Models that other OpenAI-compatible servers serve, as one engine."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from kodify.engine import upstream_requests
from kodify.engine.base import EngineFacts, Job, Sink
from kodify.engine.upstream_answer import DECODER, Events, Telling
from kodify.engine.upstream_errors import GONE, Refused, of_event, of_status, of_transport
from kodify.engine.upstream_pool import Pool, Upstream, UpstreamOptions
from kodify.engine.upstream_requests import ChatRequest, CompletionRequest, UpstreamJob
from kodify.engine.upstream_vocabulary import TextVocabulary
from kodify.errors import EngineFailedError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)

# A request that kills the server that reads it must not go on to kill them all.
MOST_TRIES = 3
START_PAUSE_S = 1.0
CONTEXT_TOKENS = 8192  # where no upstream tells
_UNREADABLE = (msgspec.MsgspecError, ValueError, KeyError, TypeError, AttributeError)


class _Ticket:
    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()


class UpstreamEngine:
    """Serves from its start on what any of the upstreams serves at the time."""

    def __init__(
        self, upstreams: Sequence[UpstreamOptions], *, markers: Sequence[str] = (), patience_s: float | None = None
    ) -> None:
        """`markers`: the tokens of the preset that is configured for these models. `start` waits for the first
        upstream: for ever, or `patience_s`."""
        self.pool = Pool(upstreams)
        self.vocabulary = TextVocabulary(markers)
        self._patience_s = patience_s
        self._started_at = int(time.time())
        self._client: httpx.AsyncClient | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def facts(self) -> EngineFacts:
        context = self.pool.context_tokens() or CONTEXT_TOKENS
        details = {one.label: "up" if one.up else "left out" for one in self.pool.all}
        return EngineFacts(self.pool.names(), "", "upstream", context, 0, self._started_at, details)

    async def start(self) -> None:
        """Raises UnavailableError where no upstream serves a model in time."""
        client = self._client = self.pool.make_client()
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    await asyncio.gather(*(one.probe(client) for one in self.pool.all))
                    if self._serves():
                        break
                    await asyncio.sleep(START_PAUSE_S)
        except TimeoutError:
            raise UnavailableError(f"None of the upstreams serves a model: {self._labels()}.") from None
        self._watches = [asyncio.create_task(one.watch(client)) for one in self.pool.all]

    async def stop(self) -> None:
        """Safe before and after a start that failed."""
        tasks = [*self._watches, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def parse_chat(self, body: dict[str, Any]) -> ChatRequest:
        return upstream_requests.parse_chat(body)

    def parse_completion(self, body: dict[str, Any]) -> CompletionRequest:
        """Without a preset's markers `suffix` is handed on: an upstream may know what to do with it."""
        return upstream_requests.parse_completion(body, hands_on_suffix=not self.vocabulary.markers)

    async def chat_job(self, request: ChatRequest, job_id: str) -> UpstreamJob:
        return upstream_requests.chat_job(request, job_id, self._model(request.model))

    async def completion_job(self, request: CompletionRequest, job_id: str) -> UpstreamJob:
        return upstream_requests.completion_job(request, job_id, self._model(request.model), self.vocabulary)

    async def submit(self, job: Job, sink: Sink) -> _Ticket:
        assert isinstance(job, UpstreamJob)
        task = asyncio.create_task(self._run(job, sink))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _Ticket(task)

    async def check_health(self) -> None:
        if not self._serves():
            raise UnavailableError("None of the servers behind this one answers.")

    def running(self) -> int:
        return len(self._tasks)

    def metrics(self) -> bytes:
        return self.pool.metrics()

    def _serves(self) -> bool:
        return any(one.up and one.models for one in self.pool.all)

    def _labels(self) -> str:
        return ", ".join(one.label for one in self.pool.all)

    def _model(self, asked: str) -> str:
        """An empty name means the first."""
        names = self.pool.names()
        if asked in names:
            return asked
        if asked or not names:
            raise NotFoundError(f'The model "{asked[:200]}" does not exist.', param="model")
        return names[0]

    async def _run(self, job: UpstreamJob, sink: Sink) -> None:
        try:
            refused = await self._try_each(job, sink)
        except Exception as error:
            return sink.fail(error)
        if refused is not None:
            sink.fail(refused.error)

    async def _try_each(self, job: UpstreamJob, sink: Sink) -> Refused | None:
        """From one upstream to the next while nothing has been told."""
        tried: set[Upstream] = set()
        refused = Refused(UnavailableError(retry_after_s=1))
        tries = 0
        content = json.dumps(job.plan.body).encode()  # orjson refuses lone surrogates and large numbers
        while tries < MOST_TRIES:
            upstream = self.pool.choose(job.model, tried)
            if upstream is None:
                break
            tried.add(upstream)
            telling = Telling(job, sink)
            found = await self._try(upstream, job, content, telling)
            if found is None:
                return None
            refused = found
            if telling.told or found.final:
                break
            tries += found.reached
        return refused

    async def _try(self, upstream: Upstream, job: UpstreamJob, content: bytes, telling: Telling) -> Refused | None:
        upstream.running += 1
        upstream.requests += 1
        try:
            await self._ask(upstream, job, content, telling)
        except Refused as refused:
            if refused.fails:
                upstream.fail()
            elif not refused.final:
                upstream.failures += 1
            return refused
        finally:
            upstream.running -= 1
        upstream.succeed()
        return None

    async def _ask(self, upstream: Upstream, job: UpstreamJob, content: bytes, telling: Telling) -> None:
        """Raises Refused."""
        try:
            response = await self._sent(upstream, job, content)
            try:
                if response.status_code != 200:
                    answer = await response.aread()
                    raise of_status(response.status_code, answer, response.headers.get("retry-after"), upstream.label)
                await self._listen(upstream, job, response, telling)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.StreamError) as error:
            if not telling.complete:
                raise of_transport(error, upstream.label) from None
        telling.end()

    async def _sent(self, upstream: Upstream, job: UpstreamJob, content: bytes) -> httpx.Response:
        client = self._client
        assert client is not None
        # An encoded answer would be held back until there is enough of it to encode.
        headers = {"content-type": "application/json", "accept-encoding": "identity", "x-request-id": job.id}
        request = client.build_request(
            "POST",
            upstream.base + job.plan.path,
            content=content,
            headers=headers | upstream.headers,
            timeout=upstream.timeout,
        )
        try:
            return await client.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            # A kept connection may have been closed at the other end meanwhile.
            try:
                return await client.send(request, stream=True)
            except httpx.ConnectError:
                raise error from None

    async def _listen(self, upstream: Upstream, job: UpstreamJob, response: httpx.Response, telling: Telling) -> None:
        if not job.plan.body["stream"]:
            return self._take(upstream, await response.aread(), telling)
        events = Events()
        async for piece in response.aiter_bytes():
            for data in events.feed(piece):
                if data == b"[DONE]":
                    if telling.complete:
                        telling.end()
                elif data:
                    self._take(upstream, data, telling)
        if not telling.complete:
            log.warning("the upstream %s ended an answer before its end", upstream.label)
            raise Refused(UnavailableError(GONE, retry_after_s=1), fails=True)

    def _take(self, upstream: Upstream, data: bytes, telling: Telling) -> None:
        try:
            chunk = DECODER.decode(data)
            if chunk.error is None:
                return telling.take(chunk)
        except _UNREADABLE as error:
            log.error("the upstream %s says what can't be read: %s", upstream.label, type(error).__name__)
            raise Refused(EngineFailedError()) from None
        raise of_event(chunk.error, upstream.label)
