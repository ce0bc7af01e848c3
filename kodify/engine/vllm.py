"""The engine that serves: vLLM's AsyncLLM, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest

from kodify.engine.base import EngineFacts, Job, Sink, Ticket
from kodify.engine.vllm_arguments import ServingFlags, engine_arguments, prepare_environment
from kodify.errors import ConfigError, KodifyError, UnavailableError
from kodify.settings import Settings

if TYPE_CHECKING:  # importing these takes seconds: they are loaded by start()
    from kodify.engine.vllm_direct import DirectPath
    from kodify.engine.vllm_generate import Generator
    from kodify.engine.vllm_requests import RequestReader

log = logging.getLogger(__name__)

Part = TypeVar("Part")


class VllmEngine:
    """Built from settings; `start` loads the model, in a thread, so that the event loop goes on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Any = None
        self._facts: EngineFacts | None = None
        self._reader: RequestReader | None = None
        self._generator: Generator | None = None
        self._direct: DirectPath | None = None
        self._series = CollectorRegistry()
        self._jobs = Counter(
            "kodify_engine_jobs", "Jobs by the way they took into the engine.", ["path"], registry=self._series
        )
        self._requests = Counter(
            "kodify_engine_requests", "Requests by whose code read them.", ["reader"], registry=self._series
        )
        self._reader_info = Gauge(
            "kodify_engine_reader_info",
            "1, by whose code reads the engine's output.",
            ["reader"],
            registry=self._series,
        )
        self._vocabulary: Any = None

    @property
    def facts(self) -> EngineFacts:
        return self._ready(self._facts)

    @property
    def vocabulary(self) -> Any:
        return self._ready(self._vocabulary)

    async def start(self) -> None:
        """Raises ConfigError where the model can't be loaded as configured; the log has the trace."""
        prepare_environment(self._settings)
        engine, flags = await _in_thread(self._load)
        self._engine = engine
        await _in_thread(lambda: self._equip(engine, flags))
        if self._direct is not None:
            await self._direct.start()
        self._facts = self._read_facts(engine)

    async def stop(self) -> None:
        for path in (self._direct, self._generator):
            if path is not None:
                await path.stop()
        engine, self._engine, self._facts = self._engine, None, None
        self._reader = self._generator = self._direct = None
        if engine is not None:
            await asyncio.to_thread(engine.shutdown, timeout=5)

    def parse_chat(self, body: dict[str, Any]) -> Any:
        return self._ready(self._reader).parse_chat(body)

    def parse_completion(self, body: dict[str, Any]) -> Any:
        return self._ready(self._reader).parse_completion(body)

    async def chat_job(self, request: Any, job_id: str) -> Job:
        return await self._ready(self._reader).chat_job(request, job_id, self.facts.names[0])

    async def completion_job(self, request: Any, job_id: str) -> Job:
        return await self._ready(self._reader).completion_job(request, job_id, self.facts.names[0])

    async def submit(self, job: Job, sink: Sink) -> Ticket:
        generator = self._ready(self._generator)
        if self._direct is not None and self._direct.takes(job):
            self._jobs.labels("direct").inc()
            return await self._direct.submit(job, sink)
        self._jobs.labels("generate").inc()
        return generator.submit(job, sink)

    async def check_health(self) -> None:
        engine = self._ready(self._engine)
        if engine.errored:
            raise UnavailableError("The engine has stopped.")
        try:
            await engine.check_health()
        except Exception as error:
            raise UnavailableError("The engine has stopped.") from error

    def running(self) -> int:
        return self._engine.get_num_unfinished_requests() if self._engine is not None else 0

    def metrics(self) -> bytes:
        return generate_latest(REGISTRY) + generate_latest(self._series)

    @staticmethod
    def _ready(part: Part | None) -> Part:
        if part is None:
            raise UnavailableError("The model is still loading.")
        return part

    def _load(self) -> tuple[Any, ServingFlags]:
        arguments, flags = engine_arguments(self._settings)
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        # fastokens prints a line on standard output when it is put in place.
        quiet = (
            contextlib.nullcontext()
            if self._settings.log_level == "debug"
            else contextlib.redirect_stdout(io.StringIO())
        )
        try:
            with quiet:
                _use_fast_tokenizer()
                return AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.OPENAI_API_SERVER), flags
        except KodifyError:
            raise
        except Exception as error:
            log.debug("the engine did not start", exc_info=True)
            raise ConfigError(f"The model at {self._settings.model_path} can't be loaded: {_reason(error)}") from error

    def _equip(self, engine: Any, flags: ServingFlags) -> None:
        """Everything that requests need, ready and warm before the first one."""
        import vllm.envs
        from vllm.utils.gc_utils import freeze_gc_heap

        from kodify.engine.vllm_direct import DirectPath, is_supported
        from kodify.engine.vllm_generate import Generator
        from kodify.engine.vllm_outputs import OutputReader
        from kodify.engine.vllm_parsing import ParserFactory
        from kodify.engine.vllm_requests import RequestReader
        from kodify.engine.vllm_vocabulary import TokenizerVocabulary

        tokenizer = engine.get_tokenizer()
        reader = RequestReader(engine, flags, self._requests)
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
        self._reader_info.labels("kodify" if own_reader else "vllm").set(1)
        self._vocabulary = TokenizerVocabulary(tokenizer)
        freeze_gc_heap()
        vllm.envs.enable_envs_cache()
        self._reader = reader

    def _read_facts(self, engine: Any) -> EngineFacts:
        config = engine.vllm_config
        cache, parallel = config.cache_config, config.parallel_config
        return EngineFacts(
            names=tuple(self._settings.served_names),
            path=self._settings.model_path,
            device=_device_name(config),
            context_tokens=engine.model_config.max_model_len,
            kv_cache_tokens=(cache.num_gpu_blocks or 0) * (cache.block_size or 0),
            started_at=int(time.time()),
            details={
                "dtype": str(engine.model_config.dtype).removeprefix("torch."),
                "parallel": f"tensor {parallel.tensor_parallel_size}, pipeline {parallel.pipeline_parallel_size}",
            },
        )


def _use_fast_tokenizer() -> None:
    """fastokens: the same ids, some thirty times faster on a prompt of a thousand tokens.

    Put in place here, not by VLLM_USE_FASTOKENS, which the engine's own process, that needs none, would heed too.
    """
    if find_spec("fastokens") is not None:
        from vllm.tokenizers.fastokens import apply_fastokens_patch

        apply_fastokens_patch()


async def _in_thread(work: Callable[[], Part]) -> Part:
    """As asyncio.to_thread, in a thread that nobody waits for: a signal ends a process whose load would go on
    for minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Part] = loop.create_future()

    def settle(result: Part | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(cast(Part, result))
        else:
            done.set_exception(error)

    def run() -> None:
        result: Part | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="engine-load", daemon=True).start()
    return await done


def _device_name(config: Any) -> str:
    from vllm.platforms import current_platform

    with contextlib.suppress(Exception):
        kind, name = current_platform.device_type, current_platform.get_device_name()
        return kind if name == kind else f"{name} ({kind})"
    return str(config.device_config.device)


def _reason(error: Exception) -> str:
    """The first line of the innermost cause: vLLM wraps what went wrong in general words."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return text if text.endswith(".") else text + "."
