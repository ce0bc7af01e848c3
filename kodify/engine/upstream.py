"""Models that other OpenAI-compatible servers serve, as one engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from kodify.engine import upstream_dialects, upstream_requests
from kodify.engine.base import Dialect, EngineFacts, Event, Job, Progress, Screener, Sink
from kodify.engine.upstream_answer import DECODER, Chunk, Events, Telling
from kodify.engine.upstream_asking import BROKEN, Answer, Asking, Call
from kodify.engine.upstream_errors import GONE, Refused, of_event
from kodify.engine.upstream_pool import Pool, UpstreamOptions
from kodify.engine.upstream_requests import ChatRequest, CompletionRequest, Plan, UpstreamJob
from kodify.engine.upstream_vocabulary import TextVocabulary
from kodify.errors import UnavailableError

log = logging.getLogger(__name__)


class _Ticket:
    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()


class UpstreamEngine:
    """Serves from its start on what any of the upstreams serves at the time."""

    screens_dialects = False  # what is said in them goes by unread

    def __init__(
        self, upstreams: Sequence[UpstreamOptions], *, markers: Sequence[str] = (), patience_s: float | None = None
    ) -> None:
        """`markers`: the tokens of the preset that is configured for these models. `start` waits for the first
        upstream: for ever, or `patience_s`."""
        self.pool = Pool(upstreams, patience_s=patience_s)
        self.vocabulary = TextVocabulary(markers)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def facts(self) -> EngineFacts:
        return self.pool.facts()

    async def start(self) -> None:
        """Raises UnavailableError where no upstream serves a model in time."""
        await self.pool.start()

    async def stop(self) -> None:
        """Safe before and after a start that failed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.pool.stop()

    def parse_chat(self, body: dict[str, Any]) -> ChatRequest:
        return upstream_requests.parse_chat(body)

    def parse_completion(self, body: dict[str, Any]) -> CompletionRequest:
        """Without a preset's markers `suffix` is handed on: an upstream may know what to do with it."""
        return upstream_requests.parse_completion(body, hands_on_suffix=not self.vocabulary.markers)

    async def chat_job(self, request: ChatRequest, job_id: str) -> UpstreamJob:
        return upstream_requests.chat_job(request, job_id, self.pool.name(request.model))

    async def completion_job(self, request: CompletionRequest, job_id: str) -> UpstreamJob:
        return upstream_requests.completion_job(request, job_id, self.pool.name(request.model), self.vocabulary)

    async def submit(self, job: Job, sink: Sink) -> _Ticket:
        assert isinstance(job, UpstreamJob)
        task = asyncio.create_task(self._run(job, sink))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _Ticket(task)

    async def serve(
        self, dialect: Dialect, body: dict[str, Any], progress: Progress, screen: Screener | None = None
    ) -> dict[str, Any] | AsyncGenerator[Event, None]:
        """As the upstream says it; a screen is not asked for."""
        call, streamed = upstream_dialects.read(dialect, body, self.pool)
        asking = Asking(self.pool, call)
        if streamed:
            return upstream_dialects.events(asking, progress)
        return await upstream_dialects.whole(dialect, asking, progress)

    async def check_health(self) -> None:
        self.pool.check_health()

    def running(self) -> int:
        return self.pool.running()

    def metrics(self) -> bytes:
        return self.pool.metrics()

    async def _run(self, job: UpstreamJob, sink: Sink) -> None:
        try:
            await self._tell(job, sink)
        except Exception as error:
            sink.fail(error)

    async def _tell(self, job: UpstreamJob, sink: Sink) -> None:
        asking = Asking(self.pool, Call(job.model, job.plan.path, job.plan.body, job.id))
        while True:
            telling = Telling(job, sink)
            async with asking.attempt() as answer:
                try:
                    await _listen(answer, job.plan, telling)
                except BROKEN:
                    if not telling.complete:
                        raise
                finally:
                    asking.told = telling.told
                telling.end()
                return


async def _listen(answer: Answer, plan: Plan, telling: Telling) -> None:
    response = await answer.response()
    if not plan.body["stream"]:
        return _take(answer, await response.aread(), telling)
    events = Events()
    async for piece in response.aiter_bytes():
        for data in events.feed(piece):
            if data == b"[DONE]":
                if telling.complete:
                    telling.end()
            elif data:
                _take(answer, data, telling)
    if not telling.complete:
        log.warning("the upstream %s ended an answer before its end", answer.label)
        raise Refused(UnavailableError(GONE, retry_after_s=1), fails=True)


def _take(answer: Answer, data: bytes, telling: Telling) -> None:
    def take(data: bytes) -> Chunk:
        chunk = DECODER.decode(data)
        if chunk.error is None:
            telling.take(chunk)
        return chunk

    chunk = answer.read(take, data)
    if chunk.error is not None:
        raise of_event(chunk.error, answer.label)
