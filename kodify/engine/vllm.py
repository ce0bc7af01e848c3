"""The engine that serves: vLLM's AsyncLLM, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from kodify.engine.base import Dialect, EngineFacts, Event, Job, Progress, Sink, Ticket
from kodify.engine.vllm_arguments import ServingFlags, engine_arguments, prepare_environment
from kodify.engine.vllm_loading import check_health, in_thread, load, read_facts, ready
from kodify.errors import ConfigError
from kodify.settings import Settings

if TYPE_CHECKING:  # importing these takes seconds: they are loaded by start()
    from kodify.engine.vllm_direct import DirectPath
    from kodify.engine.vllm_generate import Generator
    from kodify.engine.vllm_requests import RequestReader
    from kodify.engine.vllm_serving import Speaker

log = logging.getLogger(__name__)


class VllmEngine:
    """Built from settings; `start` loads the model, in a thread, so that the event loop goes on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Any = None
        self._facts: EngineFacts | None = None
        self._reader: RequestReader | None = None
        self._generator: Generator | None = None
        self._direct: DirectPath | None = None
        self._speaker: Speaker | None = None
        self._series = CollectorRegistry()
        self._model_label = settings.served_names[0]
        self._jobs = Counter(
            "kodify_engine_jobs", "Jobs by the way they took into the engine.", ["model", "path"], registry=self._series
        )
        self._requests = Counter(
            "kodify_engine_requests", "Requests by whose code read them.", ["model", "reader"], registry=self._series
        )
        self._reader_info = Gauge(
            "kodify_engine_reader_info",
            "1, by whose code reads the engine's output.",
            ["model", "reader"],
            registry=self._series,
        )
        self._vocabulary: Any = None

    @property
    def facts(self) -> EngineFacts:
        return ready(self._facts)

    @property
    def vocabulary(self) -> Any:
        return ready(self._vocabulary)

    async def start(self) -> None:
        """Raises ConfigError where the model can't be loaded as configured; the log has the trace."""
        prepare_environment(self._settings)
        engine, flags = await in_thread(self._load)
        self._engine = engine
        await in_thread(lambda: self._equip(engine, flags))
        if self._direct is not None:
            await self._direct.start()
        self._facts = read_facts(engine, self._settings)

    async def stop(self) -> None:
        for path in (self._direct, self._generator):
            if path is not None:
                await path.stop()
        engine, self._engine, self._facts = self._engine, None, None
        self._reader = self._generator = self._direct = self._speaker = None
        if engine is not None:
            await asyncio.to_thread(engine.shutdown, timeout=5)

    def parse_chat(self, body: dict[str, Any]) -> Any:
        return ready(self._reader).parse_chat(body)

    def parse_completion(self, body: dict[str, Any]) -> Any:
        return ready(self._reader).parse_completion(body)

    async def chat_job(self, request: Any, job_id: str) -> Job:
        return await ready(self._reader).chat_job(request, job_id, self.facts.names[0])

    async def completion_job(self, request: Any, job_id: str) -> Job:
        return await ready(self._reader).completion_job(request, job_id, self.facts.names[0])

    async def submit(self, job: Job, sink: Sink) -> Ticket:
        generator = ready(self._generator)
        if self._direct is not None and self._direct.takes(job):
            self._jobs.labels(self._model_label, "direct").inc()
            return await self._direct.submit(job, sink)
        self._jobs.labels(self._model_label, "generate").inc()
        return generator.submit(job, sink)

    async def serve(
        self, dialect: Dialect, body: dict[str, Any], progress: Progress
    ) -> dict[str, Any] | AsyncGenerator[Event, None]:
        speaker = ready(self._speaker)
        if dialect in ("messages", "responses"):
            self._jobs.labels(self._model_label, "serving").inc()
        return await speaker.serve(dialect, body, progress)

    async def check_health(self) -> None:
        await check_health(ready(self._engine))

    def running(self) -> int:
        return self._engine.get_num_unfinished_requests() if self._engine is not None else 0

    def metrics(self) -> bytes:
        return generate_latest(self._series)

    def _load(self) -> tuple[Any, ServingFlags]:
        arguments, flags = engine_arguments(self._settings)
        return load(arguments, self._settings, self._series), flags

    def _equip(self, engine: Any, flags: ServingFlags) -> None:
        """Everything that requests need, ready and warm before the first one."""
        import vllm.envs
        from vllm.utils.gc_utils import freeze_gc_heap

        from kodify.engine.vllm_direct import DirectPath, is_supported
        from kodify.engine.vllm_generate import Generator
        from kodify.engine.vllm_outputs import OutputReader
        from kodify.engine.vllm_parsing import ParserFactory
        from kodify.engine.vllm_requests import RequestReader
        from kodify.engine.vllm_serving import Speaker
        from kodify.engine.vllm_vocabulary import TokenizerVocabulary

        tokenizer = engine.get_tokenizer()
        own, theirs = (self._requests.labels(self._model_label, name) for name in ("kodify", "vllm"))
        try:
            reader = RequestReader(engine, flags, own, theirs)
        except (TypeError, KeyError, ValueError) as error:  # a parser of tool calls that is none, or not this model's
            raise ConfigError(f"ADDITIONAL_ARGS: {str(error).strip(chr(39))}") from error
        with contextlib.suppress(Exception):  # a base model without a chat template can't warm its chat up
            reader.renderer.warmup()
        parsers = ParserFactory(reader.renderer, tokenizer, engine.model_config)
        self._generator = Generator(engine, parsers, show_cached_tokens=flags.enable_prompt_tokens_details)
        own_reader = False
        if self._settings.engine_path == "direct":
            if is_supported():
                self._direct = DirectPath(engine, parsers, show_cached_tokens=flags.enable_prompt_tokens_details)
                asyncio.run(reader.use_common_reader())
                own_reader = self._settings.engine_reader == "kodify" and OutputReader.suits(engine)
                if own_reader:
                    OutputReader(engine).install()
            else:
                log.warning("this is another vLLM than the direct path was written for: jobs go through generate()")
        self._reader_info.labels(self._model_label, "kodify" if own_reader else "vllm").set(1)
        self._vocabulary = TokenizerVocabulary(tokenizer)
        self._speaker = Speaker(engine, reader.renderer, flags, self._settings.served_names, self._settings.model_path)
        freeze_gc_heap()
        vllm.envs.enable_envs_cache()
        self._reader = reader
