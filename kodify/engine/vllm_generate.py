"""Jobs through vLLM's public `generate()`: one task a prompt, deltas pushed into the job's sink."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from kodify.engine.base import Delta, Job, Prompt, Sink
from kodify.engine.vllm_errors import translate
from kodify.engine.vllm_logprobs import convert, convert_prompt
from kodify.engine.vllm_parsing import ChoiceParser, ParserFactory
from kodify.engine.vllm_plan import Plan, effective_priority
from kodify.errors import STOPPING, EngineFailedError, UnavailableError


class GenerateTicket:
    """The tasks of one job; the first that fails ends the others."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()  # generate() aborts the request in the engine when its task is cancelled


class Generator:
    def __init__(self, engine: Any, parsers: ParserFactory, *, show_cached_tokens: bool) -> None:
        self._engine = engine
        self._parsers = parsers
        self._show_cached_tokens = show_cached_tokens
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops = False

    def submit(self, job: Job, sink: Sink) -> GenerateTicket:
        ticket = GenerateTicket()
        for position, prompt in enumerate(job.prompts):
            task = asyncio.create_task(self._run(job, position, prompt, sink, ticket))
            ticket.tasks.append(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return ticket

    async def stop(self) -> None:
        """Ends what still runs. vLLM's own shutdown would leave these tasks waiting for ever."""
        self._stops = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Job, position: int, prompt: Prompt, sink: Sink, ticket: GenerateTicket) -> None:
        plan: Plan = job.plan
        # One id for each prompt: the engine refuses two requests of the same name.
        request_id = job.id if len(job.prompts) == 1 else f"{job.id}-{position}"
        try:
            parsers = [self._parsers.build(plan, prompt) for _ in range(job.choices)]
            extra = self._parsers.engine_kwargs(plan, prompt)
            outputs = self._engine.generate(
                plan.inputs[position],
                plan.sampling[position],
                request_id,
                lora_request=plan.lora,
                priority=effective_priority(job),
                **extra,
            )
            async for output in outputs:
                for delta in self._deltas(output, position * job.choices, job, prompt, parsers):
                    sink.emit(delta)
        except asyncio.CancelledError:
            if self._stops:  # nobody else tells it
                sink.fail(UnavailableError(STOPPING))
            raise
        except Exception as error:
            sink.fail(translate(error))
            for other in ticket.tasks:
                if other is not asyncio.current_task():
                    other.cancel()

    def _deltas(
        self, output: Any, first_index: int, job: Job, prompt: Prompt, parsers: Sequence[ChoiceParser | None]
    ) -> list[Delta]:
        plan: Plan = job.plan
        tokenizer = self._engine.get_tokenizer() if plan.top_logprobs is not None else None
        prompt_logprobs = None
        if output.prompt_logprobs is not None:
            top = plan.sampling[0].prompt_logprobs or 0
            prompt_logprobs = convert_prompt(
                prompt.token_ids, output.prompt_logprobs, top, self._engine.get_tokenizer()
            )
        deltas = []
        for choice in output.outputs:
            if choice.finish_reason == "error":
                raise EngineFailedError()
            if choice.finish_reason == "abort":
                raise UnavailableError("The request was aborted. Please try again later")
            logprobs = None
            if plan.top_logprobs is not None and choice.logprobs is not None:
                logprobs = convert(choice.token_ids, choice.logprobs, plan.top_logprobs, tokenizer)
            delta = Delta(
                index=first_index + choice.index,
                text=choice.text,
                token_ids=choice.token_ids,
                finish_reason=choice.finish_reason,
                stop_reason=choice.stop_reason,
                logprobs=logprobs,
                prompt_logprobs=prompt_logprobs,
                cumulative_logprob=choice.cumulative_logprob,
                cached_tokens=output.num_cached_tokens if self._show_cached_tokens or job.tells_cached else None,
            )
            parser = parsers[choice.index]
            deltas.append(delta if parser is None else parser.parse(delta, whole=not plan.streamed))
        return deltas
