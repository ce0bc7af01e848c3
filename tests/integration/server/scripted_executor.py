"""An executor without a model: vLLM's engine, scheduler and detokenizer around answers that a file tells.

Chosen by `--distributed-executor-backend tests.integration.server.scripted_executor.ScriptedExecutor`. The file that
KODIFY_TEST_SCRIPT names has a list of pairs: what a prompt has to have in it, and what is answered; the last pair that
fits counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.executor.abstract import Executor
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheSpec
from vllm.v1.kv_cache_layout import KVCacheLayout
from vllm.v1.outputs import ModelRunnerOutput

SCRIPT_VARIABLE = "KODIFY_TEST_SCRIPT"
KV_CACHE_BYTES = 1 << 28
END = "<|im_end|>"


@dataclass
class Sequence:
    answer: list[int]
    prompt_tokens: int
    computed: int
    said: int = 0


class ScriptedExecutor(Executor):  # type: ignore[misc]
    def _init_executor(self) -> None:
        folder = Path(self.model_config.tokenizer or self.model_config.model)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._pairs: list[tuple[str, str]] = json.loads(Path(os.environ[SCRIPT_VARIABLE]).read_text())
        self._end: int = self._tokenizer.token_to_id(END) or 0
        self._running: dict[str, Sequence] = {}

    def execute_model(
        self, scheduler_output: SchedulerOutput, non_block: bool = False
    ) -> ModelRunnerOutput | Future[ModelRunnerOutput]:
        for request_id in scheduler_output.finished_req_ids:
            self._running.pop(request_id, None)
        for new in scheduler_output.scheduled_new_reqs:
            prompt = list(new.prompt_token_ids or ())
            self._running[new.req_id] = Sequence(self._answer(prompt), len(prompt), new.num_computed_tokens)
        scheduled = scheduler_output.num_scheduled_tokens
        sampled = [self._advance(request_id, count) for request_id, count in scheduled.items()]
        output = ModelRunnerOutput(
            req_ids=list(scheduled),
            req_id_to_index={request_id: index for index, request_id in enumerate(scheduled)},
            sampled_token_ids=sampled,
        )
        return _settled(output) if non_block else output

    def _answer(self, prompt: list[int]) -> list[int]:
        text = self._tokenizer.decode(prompt, skip_special_tokens=False)
        said = [answer for wanted, answer in self._pairs if wanted in text][-1]
        return [*self._tokenizer.encode(said, add_special_tokens=False).ids, self._end]

    def _advance(self, request_id: str, count: int) -> list[int]:
        sequence = self._running[request_id]
        sequence.computed += count
        if sequence.computed < sequence.prompt_tokens + sequence.said:
            return []
        token = sequence.answer[min(sequence.said, len(sequence.answer) - 1)]
        sequence.said += 1
        return [token]

    def collective_rpc(
        self,
        method: str | Callable[..., Any],
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        non_block: bool = False,
    ) -> Any:
        answers = [self._worker_says(method if isinstance(method, str) else "")]
        return _settled(answers) if non_block else answers

    def _worker_says(self, method: str) -> Any:
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
            block_size=self.cache_config.block_size or 32,
            num_kv_heads=self.model_config.get_num_kv_heads(self.parallel_config),
            head_size=self.model_config.get_head_size(),
            dtype=torch.bfloat16,
        )
        return {"model.layers.0.self_attn.attn": layer}

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


def _settled(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
