"""An engine that says what it is told: for tests and for the benchmark's floor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from zlib import crc32

from kodify.engine import parting
from kodify.engine.base import Delta, Embedded, EngineFacts, Job, Prompt, Sink
from kodify.errors import BadRequestError, KodifyError, UnavailableError

MOST_DIMENSIONS = 4096  # of an embedding

_DEFAULTS: dict[str, Any] = {
    "model": None, "stream": False, "n": 1, "temperature": None, "top_p": None, "presence_penalty": None,
    "frequency_penalty": None, "max_tokens": None, "max_completion_tokens": None, "echo": False,
    "stop_token_ids": None, "stream_options": None, "logprobs": None, "top_logprobs": 0, "suffix": None,
    "prompt": None, "prompt_logprobs": None, "use_beam_search": False,
}  # fmt: skip

MOST_DIMENSIONS = 4096


@dataclass
class Script:
    """`pieces` are said one a step; then the answer ends, or `error` is raised in its place."""

    pieces: Sequence[str] = ("Hello", ", ", "world")
    finish_reason: str = "stop"
    error: Exception | None = None
    error_on_submit: KodifyError | None = None
    endless: bool = False
    pause_s: float = 0.0  # before each piece


class _Ticket:
    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()


class CharacterVocabulary:
    """One token a character, and a few markers above them."""

    quick_characters = 10_000
    start_ids = ()
    markers = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|endoftext|>")

    def token_id(self, token: str) -> int | None:
        if token in self.markers:
            return 0x110000 + self.markers.index(token)
        return ord(token) if len(token) == 1 else None

    def encode_plain(self, text: str, *, continues: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def part(self, text: str) -> str:
        return parting.part(text, parting.matcher(self.markers))

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(i) if i < 0x110000 else self.markers[i - 0x110000] for i in token_ids)


@dataclass
class ScriptedEngine:
    script: Script = field(default_factory=Script)
    names: tuple[str, ...] = ("scripted",)
    context_tokens: int = 4096
    most_running: int = 0
    vocabulary: CharacterVocabulary = field(default_factory=CharacterVocabulary)
    jobs: list[Job] = field(default_factory=list)
    cancelled: int = 0
    healthy: bool = True
    started_at: int = field(default_factory=lambda: int(time.time()))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def facts(self) -> EngineFacts:
        return EngineFacts(
            self.names, "/scripted", "none", self.context_tokens, 0, self.started_at, most_running=self.most_running
        )

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def parse_chat(self, body: dict[str, Any]) -> Any:
        options = body.get("stream_options")
        if options is not None:
            options = SimpleNamespace(**{"include_usage": False, "continuous_usage_stats": False, **options})
        return SimpleNamespace(**{**_DEFAULTS, **body, "stream_options": options})

    def parse_completion(self, body: dict[str, Any]) -> Any:
        return self.parse_chat(body)

    async def chat_job(self, request: Any, job_id: str) -> Job:
        text = "\n".join(str(message["content"]) for message in request.messages)
        return self._job(request, job_id, [text])

    async def completion_job(self, request: Any, job_id: str) -> Job:
        prompts = request.prompt
        if isinstance(prompts, str) or all(isinstance(prompt, int) for prompt in prompts):
            prompts = [prompts]
        return self._job(request, job_id, prompts)

    def _job(self, request: Any, job_id: str, prompts: Sequence[Any]) -> Job:
        ready = tuple(
            Prompt(self.vocabulary.encode_plain(p), p) if isinstance(p, str) else Prompt(list(p)) for p in prompts
        )
        return Job(job_id, self.names[0], ready, request.n or 1, plan=bool(request.stream))

    async def submit(self, job: Job, sink: Sink) -> _Ticket:
        if self.script.error_on_submit is not None:
            raise self.script.error_on_submit
        self.jobs.append(job)
        task = asyncio.create_task(self._say(job, sink))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _Ticket(task)

    async def _say(self, job: Job, sink: Sink) -> None:
        script, streamed = self.script, job.plan
        try:
            choices = range(job.choices * len(job.prompts))
            while script.endless:
                await asyncio.sleep(script.pause_s)
                if streamed:
                    sink.emit(Delta(0, "on and ", (1,)))
            for position, piece in enumerate(script.pieces if streamed else ["".join(script.pieces)]):
                await asyncio.sleep(script.pause_s)
                last = not streamed or position == len(script.pieces) - 1
                reason = script.finish_reason if last and script.error is None else None
                if script.error is None or streamed:
                    for index in choices:
                        count = 1 if streamed else len(script.pieces)
                        sink.emit(Delta(index, piece, (1,) * count, reason, cumulative_logprob=-float(index)))
            if script.error is not None:
                sink.fail(script.error)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def check_health(self) -> None:
        if not self.healthy:
            raise UnavailableError("The engine is not running.")

    def running(self) -> int:
        return len(self._tasks)

    def metrics(self) -> bytes:
        return b""


@dataclass
class ScriptedEmbedder:
    """A vector tells its input's length and position; one token a character. `endless`: it never comes to an end."""

    names: tuple[str, ...] = ("scripted-embedder",)
    context_tokens: int = 512
    size: int = 4
    error: Exception | None = None
    endless: bool = False
    healthy: bool = True
    asked: list[tuple[list[Any], int | None]] = field(default_factory=list)
    cancelled: int = 0
    started_at: int = field(default_factory=lambda: int(time.time()))
    _running: int = 0

    @property
    def facts(self) -> EngineFacts:
        return EngineFacts(self.names, "/scripted-embedder", "none", self.context_tokens, 0, self.started_at)

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> None:
        await asyncio.sleep(0)

    async def embed(
        self,
        inputs: Sequence[str] | Sequence[list[int]],
        *,
        dimensions: int | None = None,
        request_id: str = "",
        cut: bool = False,
    ) -> Embedded:
        import numpy as np  # the engine's

        self.asked.append((list(inputs), dimensions))
        self._running += len(inputs)
        try:
            await asyncio.sleep(0)
            if self.endless:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._running -= len(inputs)
        if self.error is not None:
            raise self.error
        if cut:
            inputs = [one[: self.context_tokens] for one in inputs]  # type: ignore[assignment]
        if max(map(len, inputs)) > self.context_tokens:
            raise BadRequestError(f"This model's maximum context length is {self.context_tokens} tokens.")
        if dimensions is not None and not 1 <= dimensions <= MOST_DIMENSIONS:
            raise BadRequestError(f"dimensions must be in the range from 1 to {MOST_DIMENSIONS}.", param="dimensions")
        size = dimensions or self.size
        if size > max(self.size, MOST_DIMENSIONS):
            raise BadRequestError(f"dimensions must not exceed {max(self.size, MOST_DIMENSIONS)}.", param="dimensions")
        rows = [[len(one) / 7, position / 3, *(0.1,) * size][:size] for position, one in enumerate(inputs)]
        return Embedded(np.array(rows, dtype=np.float32), tuple(map(len, inputs)))

    async def check_health(self) -> None:
        if not self.healthy:
            raise UnavailableError("The engine is not running.")

    def running(self) -> int:
        return self._running

    def metrics(self) -> bytes:
        return b""


@dataclass
class WordEmbedder(ScriptedEmbedder):
    """Texts that share words have vectors that are near: each word has a place of its own, as far as they go."""

    size: int = 64

    async def embed(
        self,
        inputs: Sequence[str] | Sequence[list[int]],
        *,
        dimensions: int | None = None,
        request_id: str = "",
        cut: bool = False,
    ) -> Embedded:
        import numpy as np

        told = await super().embed(inputs, dimensions=dimensions, request_id=request_id, cut=cut)
        rows = np.full((len(inputs), self.size), 0.01, dtype=np.float32)
        for row, text in zip(rows, inputs, strict=True):
            for word in str(text).lower().split():
                row[crc32(word.encode()) % self.size] += 1
        return Embedded(rows, told.prompt_tokens)
