"""Owns the engine double: a vLLM executor without a model, for measuring what stands before the engine.

EngineCore, scheduler, KV cache bookkeeping and ZMQ stay vLLM's own; only the model's step is replaced by a wait
of a set length, so that the front end is the bottleneck, as it is before a fast GPU. Chosen by
`--distributed-executor-backend bench.double.EngineDouble`; never a part of the product.
"""

import os
import sysconfig
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.executor.abstract import Executor
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheSpec
from vllm.v1.kv_cache_layout import KVCacheLayout
from vllm.v1.outputs import ModelRunnerOutput

from bench.pace import PACE_FILE_VARIABLE, Pace

KV_CACHE_BYTES = 1 << 30
KV_LAYERS = 2
DEFAULT_BLOCK_SIZE = 32
STORY_CHARS = 60_000
STORY_STRIDE = 997
MIDDLE = "<|fim_middle|>"
LINE = " value + other_value * factor - offset" * 200  # a completion that nothing cuts, as long as it may be
STEP_SLACK_S = 0.0015
Value = TypeVar("Value")


@dataclass(slots=True)
class Sequence:
    """One running request: how far its prompt is computed, and where in which story it reads its answer."""

    story: list[int]
    computed: int
    prompt_length: int
    story_offset: int
    answered: int = 0


class EngineDouble(Executor):
    """Answers a hole with one long line and every other request with real Python source, one token per step, at the
    pace that `Pace` says."""

    def _init_executor(self) -> None:
        folder = self.model_config.tokenizer or self.model_config.model
        source = Path(sysconfig.get_path("stdlib"), "argparse.py").read_text(encoding="utf-8")[:STORY_CHARS]
        tokenizer = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
        self._story: list[int] = tokenizer.encode(source).ids
        self._line: list[int] = tokenizer.encode(LINE).ids
        self._middle = tokenizer.token_to_id(MIDDLE)
        self._pace = Pace(Path(os.environ[PACE_FILE_VARIABLE]))
        self._running: dict[str, Sequence] = {}
        self._begun = 0
        self._step_ends_at = 0.0

    def execute_model(  # type: ignore[override]  # vLLM overloads on non_block; one body serves both
        self, scheduler_output: SchedulerOutput, non_block: bool = False
    ) -> ModelRunnerOutput | Future[ModelRunnerOutput]:
        for request_id in scheduler_output.finished_req_ids:
            self._running.pop(request_id, None)
        for new in scheduler_output.scheduled_new_reqs:
            prompt = list(new.prompt_token_ids or ())
            story, offset = self._choose_story(prompt)
            self._running[new.req_id] = Sequence(story, new.num_computed_tokens, len(prompt), offset)
        scheduled = scheduler_output.num_scheduled_tokens
        sampled = [self._advance(request_id, count) for request_id, count in scheduled.items()]
        if scheduled:
            self._wait_for_step(prefill_tokens=sum(count for count in scheduled.values() if count > 1))
        request_ids = list(scheduled)
        output = ModelRunnerOutput(
            req_ids=request_ids,
            req_id_to_index={request_id: index for index, request_id in enumerate(request_ids)},
            sampled_token_ids=sampled,
        )
        return _settled(output) if non_block else output

    def _choose_story(self, prompt: list[int]) -> tuple[list[int], int]:
        """What is answered to a prompt, and from where on."""
        self._begun += 1
        story = self._line if prompt and prompt[-1] == self._middle else self._story
        return story, self._begun * STORY_STRIDE % len(story)

    def _advance(self, request_id: str, count: int) -> list[int]:
        sequence = self._running[request_id]
        sequence.computed += count
        if sequence.computed < sequence.prompt_length + sequence.answered:
            return []
        token = sequence.story[(sequence.story_offset + sequence.answered) % len(sequence.story)]
        sequence.answered += 1
        return [token]

    def _wait_for_step(self, prefill_tokens: int) -> None:
        """Sleep to the end of the step; steps back to back keep their period, as a busy GPU does."""
        step_s, prefill_s_per_token = self._pace.read()
        now = time.monotonic()
        begins_at = now if now - self._step_ends_at > STEP_SLACK_S else self._step_ends_at
        self._step_ends_at = begins_at + step_s + prefill_s_per_token * prefill_tokens
        if self._step_ends_at > now:
            time.sleep(self._step_ends_at - now)

    def collective_rpc(
        self,
        method: str | Callable[..., Any],
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        non_block: bool = False,
    ) -> Any:
        answers = [self._answer_worker_call(method if isinstance(method, str) else "")]
        return _settled(answers) if non_block else answers

    def _answer_worker_call(self, method: str) -> Any:
        """Say what a worker would say at start; anything else is a no-op here."""
        match method:
            case "get_kv_cache_spec":
                return self._kv_cache_spec()
            case "determine_available_memory":
                return KV_CACHE_BYTES
            case "get_supported_kv_cache_layouts":
                return [layout.name for layout in KVCacheLayout]
            case "get_supported_tasks":
                return ("generate",)
            case "supports_draft_weight_updates":
                return False
            case _:
                return None

    def _kv_cache_spec(self) -> dict[str, KVCacheSpec]:
        layer = FullAttentionSpec(
            block_size=self.cache_config.block_size or DEFAULT_BLOCK_SIZE,
            num_kv_heads=self.model_config.get_num_kv_heads(self.parallel_config),
            head_size=self.model_config.get_head_size(),
            dtype=torch.bfloat16,
        )
        return {f"model.layers.{index}.self_attn.attn": layer for index in range(KV_LAYERS)}

    def compile_or_warm_up_model(self) -> None:
        pass

    def take_draft_token_ids(self) -> None:
        return None

    def check_health(self) -> None:
        pass

    def shutdown(self) -> None:
        pass

    @classmethod
    def supports_async_scheduling(cls) -> bool:
        return False


def _settled(value: Value) -> Future[Value]:
    future: Future[Value] = Future()
    future.set_result(value)
    return future
