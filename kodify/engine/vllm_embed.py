"""The engine that embeds: vLLM's AsyncLLM with a pooling model, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest

from kodify.engine.base import Embedded, EngineFacts
from kodify.engine.vllm_arguments import engine_arguments, prepare_environment
from kodify.engine.vllm_loading import Pulse, check_health, in_thread, load, read_facts, ready, shut_down
from kodify.errors import BadRequestError, ConfigError, EngineFailedError, UnavailableError
from kodify.settings import Settings

if TYPE_CHECKING:
    from vllm.pooling_params import PoolingParams

_SAMPLES = ("", "Sort a list.", " Größe, 大きさ, \U0001f600 \n\t[SEP] </s> <|im_end|> ")


class VllmEmbedder:
    """Built from settings; `start` loads the model, in a thread, so that the event loop goes on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Any = None
        self._pulse: Pulse | None = None
        self._facts: EngineFacts | None = None
        self._reader: TextReader | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._series = CollectorRegistry()

    @property
    def facts(self) -> EngineFacts:
        return ready(self._facts)

    async def start(self) -> None:
        """Raises ConfigError where the model can't be loaded as configured, or is none that embeds."""
        prepare_environment(self._settings)
        self._engine = engine = await in_thread(self._load)
        if "embed" not in await engine.get_supported_tasks():
            raise ConfigError(f"The model at {self._settings.model_path} does not embed: its task is another one.")
        self._pulse = Pulse(engine, self._settings.engine_stall_s)
        self._reader = await in_thread(lambda: TextReader(engine))
        size = str(engine.model_config.embedding_size)
        self._facts = read_facts(engine, self._settings, dimensions=size)

    async def stop(self) -> None:
        """Ends what still runs. vLLM's own shutdown would leave it waiting for ever."""
        engine, self._engine, self._facts = self._engine, None, None
        pulse, self._pulse, self._reader = self._pulse, None, None
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if engine is not None:
            await shut_down(engine, pulse)

    async def embed(
        self,
        inputs: Sequence[str] | Sequence[list[int]],
        *,
        dimensions: int | None = None,
        request_id: str = "",
        cut: bool = False,
    ) -> Embedded:
        from kodify.engine.vllm_errors import translate

        engine, context = ready(self._engine), self.facts.context_tokens
        if not inputs or not all(map(len, inputs)):
            raise BadRequestError("input must not be empty.", param="input")
        prompts = await ready(self._reader).read(inputs)
        if cut:
            prompts = [_fitted(prompt, context) for prompt in prompts]
        for prompt in prompts:
            _check_length(prompt, context)
        try:
            for prompt in prompts:
                engine.renderer.validate_token_ids(prompt, parameter="input")
            parameters = self._parameters(dimensions)
            async with asyncio.TaskGroup() as group:  # all at once: the engine makes its batches of them
                tasks = [
                    group.create_task(self._embed_one(prompt, parameters, f"{request_id}-{position}"))
                    for position, prompt in enumerate(prompts)
                ]
                self._running.update(tasks)
                for task in tasks:
                    task.add_done_callback(self._running.discard)
        except ExceptionGroup as failed:
            raise translate(failed.exceptions[0]) from failed
        except Exception as error:
            raise translate(error) from error
        if any(task.cancelled() for task in tasks):
            raise UnavailableError("The engine was stopped.")
        return Embedded(_stacked([task.result() for task in tasks]), tuple(map(len, prompts)))

    async def check_health(self) -> None:
        ready(self._facts)  # they come last
        await check_health(ready(self._engine), ready(self._pulse))

    def running(self) -> int:
        return len(self._running)

    def metrics(self) -> bytes:
        return generate_latest(self._series)

    def _load(self) -> Any:
        arguments, _ = engine_arguments(self._settings)
        from vllm.platforms import current_platform

        arguments.runner = "pooling"
        if arguments.dtype == "auto" and current_platform.is_cpu():
            arguments.dtype = cpu_dtype()
        return load(arguments, self._settings, self._series, any_tokenizer=True)

    def _parameters(self, dimensions: int | None) -> PoolingParams:
        from vllm.pooling_params import PoolingParams

        config = self._engine.model_config
        size, nested = config.embedding_size, config.is_matryoshka
        if dimensions is not None:
            check_dimensions(dimensions, size, nested=nested, allowed=config.matryoshka_dimensions)
        return PoolingParams(task="embed", dimensions=dimensions if nested else None)

    async def _embed_one(self, prompt: list[int], parameters: PoolingParams, request_id: str) -> Any:
        from vllm.inputs.engine import tokens_input

        outputs = self._engine.encode(tokens_input(prompt), parameters, request_id)
        async for output in outputs:
            if output.finished and output.error is None:
                return output.outputs.data
        raise EngineFailedError


def cpu_dtype() -> str:
    """What this CPU multiplies fastest and a vector can bear. vLLM's own choice is float16, with which it takes seven
    times as long as with float32."""
    import torch

    has_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if has_bfloat16 else "float32"


class TextReader:
    """Texts into token ids, with those that the tokenizer adds by itself; long ones in a thread."""

    def __init__(self, engine: Any) -> None:
        from kodify.engine.vllm_tokenizer import PlainTokenizer

        tokenizer = engine.get_tokenizer()
        self._encode: Callable[[str], list[int]] = lambda text: list(tokenizer.encode(text))
        self._quick_characters = 0
        if hasattr(tokenizer, "_tokenizer"):
            plain = PlainTokenizer(tokenizer)
            if all(plain.encode(text, special_tokens=True) == self._encode(text) for text in _SAMPLES):
                self._encode = lambda text: plain.encode(text, special_tokens=True)
                self._quick_characters = plain.quick_characters
        self._lower = bool((engine.model_config.encoder_config or {}).get("do_lower_case"))

    async def read(self, inputs: Sequence[str] | Sequence[list[int]]) -> list[list[int]]:
        characters = sum(len(one) for one in inputs if isinstance(one, str))
        if characters <= self._quick_characters:
            return self._read(inputs)
        return await asyncio.to_thread(self._read, inputs)

    def _read(self, inputs: Sequence[str] | Sequence[list[int]]) -> list[list[int]]:
        return [
            self._encode(one.lower() if self._lower else one) if isinstance(one, str) else list(one) for one in inputs
        ]


def check_dimensions(dimensions: int, size: int, *, nested: bool, allowed: Sequence[int] | None) -> None:
    """`nested`: the model was trained so that the start of a vector is a vector (Matryoshka)."""
    if not nested:
        if dimensions == size:
            return
        complaint = f"This model's embeddings have {size} dimensions and can't be shortened, got {dimensions}."
    elif allowed and dimensions not in allowed:
        complaint = f"dimensions must be one of {', '.join(map(str, allowed))}, got {dimensions}."
    elif not 1 <= dimensions <= size:
        complaint = f"dimensions must be in the range from 1 to {size}, got {dimensions}."
    else:
        return
    raise BadRequestError(complaint, param="dimensions")


def _fitted(prompt: list[int], context: int) -> list[int]:
    """Its last token may be the tokenizer's own, which ends a text."""
    return prompt if len(prompt) <= context else [*prompt[: context - 1], prompt[-1]]


def _check_length(prompt: list[int], context: int) -> None:
    if len(prompt) > context:
        raise BadRequestError(
            f"This model's maximum context length is {context} tokens. However, you requested {len(prompt)} tokens in "
            "the input, Please reduce the length of the input.",
            param="input",
        )


def _stacked(rows: list[Any]) -> Any:
    """Tensors of the engine's dtype into one float32 array."""
    import torch

    return torch.stack(rows).to("cpu", torch.float32).numpy()
