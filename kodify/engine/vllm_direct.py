"""Jobs past vLLM's `generate()`: deltas go from its output loop straight into the job's sink.

This is the one module that leaves vLLM's public API: it registers a request state of its own, which hands each
step's text over instead of building output objects for a queue and a task to pick up. Detokenization, stop strings,
statistics and aborts stay vLLM's. It is for exactly one version; on another, and for what it does not carry
(`takes`), jobs go through `generate()`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from copy import copy
from typing import Any

import vllm
from vllm.v1.engine import EngineCoreRequest, FinishReason
from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import RequestState

from kodify.engine.base import Delta, Job, Prompt, Sink
from kodify.engine.vllm_errors import translate
from kodify.engine.vllm_parsing import ChoiceParser, ParserFactory
from kodify.engine.vllm_plan import Plan, effective_priority
from kodify.errors import STOPPING, EngineFailedError, UnavailableError

log = logging.getLogger(__name__)

WRITTEN_FOR = "0.32.0"
# The detokenizer needs the prompt's last tokens only, to know how the first new one joins them; primed with the
# whole prompt its first step takes milliseconds of the event loop.
PRIMING_TOKENS = 16


def is_supported() -> bool:
    return str(vllm.__version__).split("+")[0] == WRITTEN_FOR


class _Channel:
    """Stands where vLLM expects a request's output queue; it is given errors only."""

    __slots__ = ("closed", "ended", "index", "parser", "show_cached", "sink", "whole")

    def __init__(self, sink: Sink, index: int, parser: ChoiceParser | None, *, whole: bool, show_cached: bool) -> None:
        self.sink = sink
        self.index = index
        self.parser = parser
        self.whole = whole
        self.show_cached = show_cached
        self.closed = False  # nothing more is said
        self.ended = False  # the engine has said its last

    def put(self, error: Any) -> None:
        self.fail(error if isinstance(error, Exception) else EngineFailedError())

    def fail(self, error: Exception) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            self.sink.fail(translate(error))
        except Exception:
            log.exception("an answer could not even fail")

    def emit(self, delta: Delta) -> None:
        """What is raised in here would end vLLM's output loop, and with it every request."""
        try:
            self.sink.emit(delta if self.parser is None else self.parser.parse(delta, whole=self.whole))
        except Exception as error:
            self.fail(error)


class DirectState(RequestState):  # type: ignore[misc]
    """A request whose outputs are deltas, handed to its channel."""

    def prepare(self) -> None:
        """`plain`: its tokens need nothing but to become text, until the last one."""
        detokenizer = self.detokenizer
        self.plain = (
            type(detokenizer) is FastIncrementalDetokenizer
            and not detokenizer.stop
            and detokenizer.spaces_between_special_tokens
        )
        self.pieces: list[str] = []

    def take(self, token_ids: list[int]) -> None:
        """Tokens of a plain request, neither its first nor its last."""
        detokenizer, channel = self.detokenizer, self.queue
        if detokenizer.output_text:  # from tokens that went vLLM's way
            if channel.whole:
                self.pieces.append(detokenizer.output_text)
            detokenizer.output_text = ""
            detokenizer._last_output_text_offset = 0
        detokenizer.token_ids.extend(token_ids)
        text = ""
        for token_id in token_ids:
            text += detokenizer._protected_step(token_id) or ""
        if channel.whole:
            self.pieces.append(text)
        elif not channel.closed:
            channel.emit(Delta(channel.index, text, token_ids))

    def make_request_output(
        self,
        new_token_ids: list[int],
        pooling_output: Any,
        finish_reason: FinishReason | None,
        stop_reason: int | str | None,
        *_: Any,
        **__: Any,
    ) -> None:
        channel: _Channel = self.queue
        channel.ended = finish_reason is not None
        if channel.closed:
            return
        cached = self.num_cached_tokens if channel.show_cached else None
        if finish_reason is None:
            if not channel.whole:
                text = self.detokenizer.get_next_output_text(False, True)
                channel.emit(Delta(channel.index, text, new_token_ids, cached_tokens=cached))
            return
        if finish_reason is FinishReason.ABORT:
            return channel.fail(UnavailableError("The request was aborted. Please try again later"))
        if finish_reason is FinishReason.ERROR:
            return channel.fail(EngineFailedError())
        detokenizer = self.detokenizer
        text = detokenizer.get_next_output_text(True, not channel.whole)
        channel.emit(
            Delta(
                index=channel.index,
                text="".join((*self.pieces, text)),
                token_ids=detokenizer.output_token_ids if channel.whole else new_token_ids,
                finish_reason=str(finish_reason),
                stop_reason=stop_reason,
                cached_tokens=cached,
            )
        )
        channel.closed = True


class DirectTicket:
    def __init__(self, path: DirectPath) -> None:
        self._path = path
        self.running: list[tuple[str, _Channel]] = []

    def cancel(self) -> None:
        ids = []
        for request_id, channel in self.running:
            channel.closed = True
            if not channel.ended:
                ids.append(request_id)
        self.running.clear()
        if ids:
            self._path.abort(ids)


class DirectPath:
    def __init__(self, engine: Any, parsers: ParserFactory, *, show_cached_tokens: bool) -> None:
        self._engine = engine
        self._parsers = parsers
        self._show_cached_tokens = show_cached_tokens
        self._eos_token_id: int | None = engine.renderer.get_eos_token_id()
        self._tasks: set[asyncio.Task[None]] = set()
        self._supported_tasks: tuple[str, ...] = ()

    def takes(self, job: Job) -> bool:
        """One choice a prompt, no logprobs, an event for each token: nearly every request."""
        plan: Plan = job.plan
        if job.choices != 1 or plan.top_logprobs is not None or self._engine.output_processor.stream_interval > 1:
            return False
        return all(
            params.n == 1
            and params.logprobs is None
            and params.prompt_logprobs is None
            and params.logprob_token_ids is None
            and params.stream_interval is None
            and params.detokenize
            for params in plan.sampling
        )

    async def start(self) -> None:
        """Asks the engine what it can do: from here on its output is read, and its death is noticed."""
        self._supported_tasks = await self._engine.get_supported_tasks()
        self._engine._run_output_handler()

    async def submit(self, job: Job, sink: Sink) -> DirectTicket:
        engine = self._engine
        if engine.errored:
            raise translate(EngineDeadError())
        plan: Plan = job.plan
        ticket = DirectTicket(self)
        try:
            engine.check_admission(len(job.prompts), job.id)
            for position, prompt in enumerate(job.prompts):
                request = self._register(job, plan, position, prompt, sink, ticket)
                await engine.engine_core.add_request_async(request)
        except Exception as error:
            ticket.cancel()
            raise translate(error, from_request=True) from error
        except asyncio.CancelledError:
            ticket.cancel()
            raise
        return ticket

    def abort(self, request_ids: Sequence[str]) -> None:
        """At once here; the engine's process is told by a task that `stop` waits for."""
        aborted = self._engine.output_processor.abort_requests(request_ids, internal=True)
        task = asyncio.create_task(self._engine.engine_core.abort_requests_async(aborted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        running = [
            (request_id, state.queue)
            for request_id, state in self._engine.output_processor.request_states.items()
            if isinstance(state, DirectState)
        ]
        for _, channel in running:
            channel.fail(UnavailableError(STOPPING))
        if running:
            self.abort([request_id for request_id, _ in running])
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def full_request(self, request_id: str, plan: Plan, position: int, priority: int) -> Any:
        return self._engine.input_processor.process_inputs(
            request_id,
            plan.inputs[position],
            plan.sampling[position],
            lora_request=plan.lora,
            supported_tasks=self._supported_tasks,
            priority=priority,
        )

    def common_request(self, request_id: str, plan: Plan, position: int, priority: int) -> EngineCoreRequest:
        """What `process_inputs` makes of a plain text prompt, without the checks that CommonReader has made and
        without copying the parameters, which are this request's alone."""
        processor, params, engine_input = self._engine.input_processor, plan.sampling[position], plan.inputs[position]
        processor.apply_watermarking(params, processor._validate_params(params, self._supported_tasks))
        params.update_from_generation_config(processor.generation_config_fields, self._eos_token_id)
        return EngineCoreRequest(
            request_id=request_id,
            prompt_token_ids=engine_input["prompt_token_ids"],
            mm_features=None,
            sampling_params=params,
            pooling_params=None,
            arrival_time=engine_input["arrival_time"],
            lora_request=plan.lora,
            cache_salt=None,
            data_parallel_rank=None,
            priority=priority,
        )

    def _register(self, job: Job, plan: Plan, position: int, prompt: Prompt, sink: Sink, ticket: DirectTicket) -> Any:
        engine = self._engine
        outputs = engine.output_processor
        request_id = job.id if len(job.prompts) == 1 else f"{job.id}-{position}"
        make = self.common_request if plan.common else self.full_request
        request = make(request_id, plan, position, effective_priority(job))
        for name, value in self._parsers.engine_kwargs(plan, prompt).items():
            if value is not None:
                setattr(request, name, value)
        engine.input_processor.assign_request_id(request)
        engine._run_output_handler()
        channel = _Channel(
            sink,
            position,
            self._parsers.build(plan, prompt),
            whole=not plan.streamed,
            show_cached=self._show_cached_tokens or job.tells_cached,
        )
        primed = request
        if len(prompt.token_ids) > PRIMING_TOKENS:
            primed = copy(request)
            primed.prompt_token_ids = prompt.token_ids[-PRIMING_TOKENS:]
        state = DirectState.from_new_request(
            tokenizer=outputs.tokenizer,
            request=primed,
            prompt=None,
            parent_req=None,
            request_index=0,
            queue=channel,
            log_stats=outputs.log_stats,
            stream_interval=outputs.stream_interval,
        )
        state.prepare()
        state.prompt_token_ids = request.prompt_token_ids
        state.prompt_len = len(prompt.token_ids)
        outputs.request_states[request.request_id] = state
        outputs.external_req_ids[state.external_req_id].append(request.request_id)
        outputs._update_admission_stats()
        ticket.running.append((request.request_id, channel))
        return request
