"""AsyncLLM for one request of vLLM's serving classes: what passes is noted and, where a screen is given, screened."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from vllm import SamplingParams
from vllm.exceptions import GenerationError
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind

from kodify.engine.base import Job, Progress, Prompt, Screener
from kodify.engine.passage import Passage
from kodify.engine.vllm_plan import ranked
from kodify.errors import BadRequestError, KodifyError


class BlockedError(Exception):
    """A whole answer may not be told: `params` and `lora` are what it was asked for with."""

    def __init__(self, params: SamplingParams, lora: Any) -> None:
        super().__init__()
        self.params = params
        self.lora = lora


class StandIn:
    """`error`: why there is no verdict, where there is none."""

    def __init__(self, engine: Any, progress: Progress, screener: Screener | None) -> None:
        self._engine = engine
        self.progress = progress
        self._screener = screener
        self.error: KodifyError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def generate(
        self, prompt: Any, params: SamplingParams, request_id: str, **fields: Any
    ) -> AsyncGenerator[Any, None]:
        outputs = self._counted(prompt, params, request_id, fields)
        if self._screener is not None:
            outputs = self._screened(outputs, self._screener, prompt, params, request_id, fields.get("lora_request"))
        progress = self.progress
        async with aclosing(outputs):
            async for output in outputs:
                progress.first_at = progress.first_at or time.monotonic()
                yield output

    async def _counted(
        self, prompt: Any, params: SamplingParams, request_id: str, fields: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        progress = self.progress
        if progress.enter is not None:
            await progress.enter()
        fields = {**fields, "priority": ranked(fields.get("priority") or 0, progress.ahead)}
        async with aclosing(self._engine.generate(prompt, params, request_id, **fields)) as outputs:
            async for output in outputs:
                progress.prompt_tokens = progress.prompt_tokens or len(output.prompt_token_ids or ())
                for choice in output.outputs:
                    progress.completion_tokens += len(choice.token_ids)
                    progress.finish_reason = choice.finish_reason or progress.finish_reason
                yield output

    async def _screened(
        self,
        outputs: AsyncGenerator[Any, None],
        screener: Screener,
        prompt: Any,
        params: SamplingParams,
        request_id: str,
        lora: Any,
    ) -> AsyncGenerator[Any, None]:
        """A blocked answer ends with an output that says nothing. Raises BlockedError where it is whole."""
        cached_tokens: int | None = None
        try:
            job = _job(prompt, request_id)
            self.progress.prompt_tokens = job.prompt_tokens
            passage = Passage(job, screener, _lag(params))
            async with aclosing(passage.through(outputs)) as passed:
                async for output in passed:
                    cached_tokens = output.num_cached_tokens
                    yield output
        except KodifyError as error:
            self.error = error
            raise GenerationError(error.message) from error  # the serving classes log a trace of all others
        if passage.reason is None:
            return
        self.progress.finish_reason = passage.reason
        if params.output_kind is RequestOutputKind.FINAL_ONLY:
            self.progress.first_at = time.monotonic()
            raise BlockedError(params, lora)
        yield _nothing(job, cached_tokens)


def _job(prompt: Any, request_id: str) -> Job:
    token_ids = prompt.get("prompt_token_ids")
    if token_ids is None:
        raise BadRequestError("The prompt can't be checked: send it as text.")
    return Job(request_id, "", (Prompt(token_ids, prompt.get("prompt")),))


def _lag(params: SamplingParams) -> int:
    """What may become a stop string is kept back from an output's text, not from its tokens, which parsers may read."""
    return 0 if params.include_stop_str_in_output else max(map(len, params.stop or ()), default=0)


def _nothing(job: Job, cached_tokens: int | None) -> RequestOutput:
    choice = CompletionOutput(0, "", [], None, [], finish_reason="stop")
    (prompt,) = job.prompts
    return RequestOutput(
        job.id, prompt.text, prompt.token_ids, None, [choice], finished=True, num_cached_tokens=cached_tokens
    )
