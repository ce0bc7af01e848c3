"""What both kinds of engines do with an AsyncLLM: load it, tell its facts, ask for its health."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, TypeVar, cast

from prometheus_client import REGISTRY, CollectorRegistry

from kodify.engine.base import EngineFacts
from kodify.errors import ConfigError, KodifyError, UnavailableError
from kodify.settings import Settings

log = logging.getLogger(__name__)

Part = TypeVar("Part")


def load(arguments: Any, settings: Settings, series: CollectorRegistry, *, any_tokenizer: bool = False) -> Any:
    """An AsyncLLM; vLLM's series of it are in `series`. Raises ConfigError where the model can't be loaded.

    `any_tokenizer`: one that fastokens can't read keeps its own code.
    """
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    # fastokens prints a line on standard output when it is put in place.
    is_quiet = settings.log_level != "debug"
    quiet = contextlib.redirect_stdout(io.StringIO()) if is_quiet else contextlib.nullcontext()
    try:
        with quiet:
            _use_fast_tokenizer()
            with _tolerating_tokenizers() if any_tokenizer else contextlib.nullcontext():
                engine = AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.OPENAI_API_SERVER)
            _take_series(series)
            return engine
    except KodifyError:
        raise
    except Exception as error:
        log.debug("the engine did not start", exc_info=True)
        raise ConfigError(f"The model at {settings.model_path} can't be loaded: {_reason(error)}") from error


def read_facts(engine: Any, settings: Settings, **details: str) -> EngineFacts:
    config = engine.vllm_config
    cache, parallel = config.cache_config, config.parallel_config
    return EngineFacts(
        names=tuple(settings.served_names),
        path=settings.model_path,
        device=_device_name(config),
        context_tokens=engine.model_config.max_model_len,
        kv_cache_tokens=(cache.num_gpu_blocks or 0) * (cache.block_size or 0),
        started_at=int(time.time()),
        most_running=config.scheduler_config.max_num_seqs * parallel.data_parallel_size,
        details={
            "dtype": str(engine.model_config.dtype).removeprefix("torch."),
            "parallel": f"tensor {parallel.tensor_parallel_size}, pipeline {parallel.pipeline_parallel_size}",
            **details,
        },
    )


def ready(part: Part | None) -> Part:
    if part is None:
        raise UnavailableError("The model is still loading.")
    return part


class Pulse:
    """Whether an engine that has work makes progress: it is looked at every now and then."""

    def __init__(self, engine: Any, patience_s: float, beat: Callable[[], None] = lambda: None) -> None:
        """`beat` is told of each step, on the event loop."""
        self._engine = engine
        self._patience_s = patience_s
        self._steps = 0
        self._seen = -1
        self._since = 0.0
        processor = engine.output_processor
        update = processor.update_scheduler_stats  # vLLM calls it for each step of the engine, and so does our reader

        def counted(stats: Any) -> None:
            self._steps += 1
            update(stats)
            beat()

        processor.update_scheduler_stats = counted

    def stop(self) -> None:
        self._engine.output_processor.__dict__.pop("update_scheduler_stats", None)

    def check(self) -> None:
        """Raises UnavailableError where nothing has moved for too long."""
        now = time.monotonic()
        if self._steps != self._seen or not self._engine.output_processor.request_states:
            self._seen, self._since = self._steps, now
        elif now - self._since > self._patience_s:
            raise UnavailableError(f"The engine has made no progress for {self._patience_s:g} s.")


async def check_health(engine: Any, pulse: Pulse) -> None:
    if engine.errored:
        raise UnavailableError("The engine has stopped.")
    try:
        await engine.check_health()
    except Exception as error:
        raise UnavailableError("The engine has stopped.") from error
    pulse.check()


async def shut_down(engine: Any, pulse: Pulse | None) -> None:
    """Whoever still waits for the engine hears of its end: vLLM's own shutdown tells nobody."""
    from vllm.v1.engine.exceptions import EngineDeadError

    engine.output_processor.propagate_error(EngineDeadError())
    for waiting in getattr(engine.engine_core, "utility_results", {}).values():
        if not waiting.done():
            waiting.set_exception(EngineDeadError())
    await asyncio.sleep(0)
    if pulse is not None:
        pulse.stop()
    if isinstance(handler := engine.output_handler, asyncio.Task):  # or it may log the end as a failure
        handler.cancel()
        await asyncio.gather(handler, return_exceptions=True)
    await asyncio.to_thread(engine.shutdown, timeout=5)
    multiprocessing.active_children()  # takes leave of those that have ended
    gc.unfreeze()  # or the engine, which was frozen when it was warm, would never be collected


async def in_thread(work: Callable[[], Part]) -> Part:
    """As asyncio.to_thread, in a thread that nobody waits for: a signal ends a process whose load would go on
    for minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Part] = loop.create_future()
    threading.Thread(target=_run, args=(work, loop, done), name="engine-load", daemon=True).start()
    return await done


def _run(work: Any, loop: asyncio.AbstractEventLoop, done: Any) -> None:
    result: Any = None
    error: BaseException | None = None
    try:
        result = work()
    except BaseException as caught:
        error = caught
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
        loop.call_soon_threadsafe(_settle, done, result, error)
    # This frame outlives its thread, in the trace of an error that vLLM keeps: the engine must not live as long.
    work = result = error = done = None


def _settle(done: asyncio.Future[Part], result: Part | None, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(cast(Part, result))
    else:
        done.set_exception(error)


def _take_series(own: CollectorRegistry) -> None:
    """vLLM's series of the engine that was just made, out of the process's registry: the next engine would take them
    away, for it knows only one. Those of an engine that it replaces go."""
    for collector in list(own._collector_to_names):
        if str(getattr(collector, "_name", "")).startswith("vllm:"):
            own.unregister(collector)
    for collector in list(REGISTRY._collector_to_names):
        if str(getattr(collector, "_name", "")).startswith("vllm:"):
            REGISTRY.unregister(collector)
            own.register(collector)


def _use_fast_tokenizer() -> None:
    """fastokens: the same ids, some thirty times faster on a prompt of a thousand tokens.

    Put in place here, not by VLLM_USE_FASTOKENS, which the engine's own process, that needs none, would heed too.
    """
    if find_spec("fastokens") is not None:
        from vllm.tokenizers.fastokens import apply_fastokens_patch

        apply_fastokens_patch()


@contextlib.contextmanager
def _tolerating_tokenizers() -> Iterator[None]:
    """fastokens is put in place for the whole process, and refuses BERT's tokenizers and some others."""
    if find_spec("fastokens") is None:
        yield
        return
    import fastokens

    swap = fastokens._swap_backend

    def swap_if_possible(tokenizer: Any, shim: Any) -> Any:
        with contextlib.suppress(ValueError):
            return swap(tokenizer, shim)
        return tokenizer

    fastokens._swap_backend = swap_if_possible
    try:
        yield
    finally:
        fastokens._swap_backend = swap


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
