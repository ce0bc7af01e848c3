"""The engine that serves: vLLM's AsyncLLM, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from kodify.engine.base import Dialect, EngineFacts, Event, Job, Progress, Screener, Sink, Ticket
from kodify.engine.vllm_arguments import ServingFlags, engine_arguments, prepare_environment
from kodify.engine.vllm_loading import Pulse, check_health, in_thread, load, read_facts, ready, shut_down
from kodify.errors import ConfigError
from kodify.settings import Settings

if TYPE_CHECKING:  # importing these takes seconds: they are loaded by start()
    from kodify.engine.vllm_adapter import Adapters, VllmAdapter
    from kodify.engine.vllm_direct import DirectPath
    from kodify.engine.vllm_generate import Generator
    from kodify.engine.vllm_requests import RequestReader
    from kodify.engine.vllm_serving import Speaker

log = logging.getLogger(__name__)


class VllmEngine:
    """Built from settings; `start` loads the model, in a thread, so that the event loop goes on."""

    screens_dialects = True

    def __init__(self, settings: Settings, adapters: Mapping[str, str] | None = None) -> None:
        """`adapters`: the LoRA adapters that will be loaded after the start, for their number and their ranks."""
        self._settings = settings
        self._expected = adapters or {}
        self._arguments: tuple[Any, ServingFlags] | None = None
        self._engine: Any = None
        self._facts: EngineFacts | None = None
        self._reader: RequestReader | None = None
        self._generator: Generator | None = None
        self._direct: DirectPath | None = None
        self._speaker: Speaker | None = None
        self._adapters: Adapters | None = None
        self._pulse: Pulse | None = None
        self._lora_ids = itertools.count(1)
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
        self.on_step: Callable[[], None] = lambda: None

    @property
    def facts(self) -> EngineFacts:
        return ready(self._facts)

    @property
    def vocabulary(self) -> Any:
        return ready(self._vocabulary)

    @property
    def adapters(self) -> Adapters:
        return ready(self._adapters)

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
        """Nothing more is taken, then what runs is told, then the engine ends."""
        engine, self._engine, self._facts = self._engine, None, None
        paths, pulse = (self._direct, self._generator), self._pulse
        self._reader = self._generator = self._direct = self._speaker = self._adapters = self._pulse = None
        for path in paths:
            if path is not None:
                await path.stop()
        if engine is not None:
            await shut_down(engine, pulse)

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
        self, dialect: Dialect, body: dict[str, Any], progress: Progress, screen: Screener | None = None
    ) -> dict[str, Any] | AsyncGenerator[Event, None]:
        speaker = ready(self._speaker)
        if dialect in ("messages", "responses"):
            self._jobs.labels(self._model_label, "serving").inc()
        return await speaker.serve(dialect, body, progress, screen)

    async def load_adapter(self, name: str, path: str) -> VllmAdapter:
        from kodify.engine.vllm_adapter import VllmAdapter

        adapter = VllmAdapter(self, name, path)
        await adapter.start()
        return adapter

    async def check_health(self) -> None:
        ready(self._facts)  # they come last
        await check_health(ready(self._engine), ready(self._pulse))

    def running(self) -> int:
        return self._engine.get_num_unfinished_requests() if self._engine is not None else 0

    def metrics(self) -> bytes:
        return generate_latest(self._series)

    def shapes(self, reference: str) -> tuple[dict[str, Any], dict[str, Any]]:
        from kodify.engine.vllm_shapes import shapes

        return shapes(reference)

    def _load(self) -> tuple[Any, ServingFlags]:
        if self._arguments is None:  # once: an adapter that was there at the start may have gone
            self._arguments = engine_arguments(self._settings, self._expected)
        arguments, flags = copy.deepcopy(self._arguments)
        return load(arguments, self._settings, self._series), flags

    def _equip(self, engine: Any, flags: ServingFlags) -> None:
        """Everything that requests need, ready and warm before the first one."""
        import vllm.envs
        from vllm.utils.gc_utils import freeze_gc_heap

        from kodify.engine.vllm_adapter import Adapters
        from kodify.engine.vllm_direct import DirectPath, is_supported
        from kodify.engine.vllm_generate import Generator
        from kodify.engine.vllm_outputs import OutputReader
        from kodify.engine.vllm_parsing import ParserFactory
        from kodify.engine.vllm_requests import RequestReader
        from kodify.engine.vllm_serving import Speaker
        from kodify.engine.vllm_vocabulary import TokenizerVocabulary

        self._pulse = Pulse(engine, self._settings.engine_stall_s, lambda: self.on_step())
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
        self._adapters = Adapters(engine, self._speaker.adapters, self._lora_ids)
        freeze_gc_heap()
        vllm.envs.enable_envs_cache()
        self._reader = reader
