"""The engine's output read from its socket in one callback, without a task, a queue or a future for each step.

vLLM reads with one task, hands each step to a second one through a queue, and walks every token through code that
knows every kind of request. Here the event loop calls `_read` when the engine has written: steps are decoded on the
spot, plain tokens of `DirectState`s go straight to their answers, and everything else (first and last tokens, stop
strings, logprobs, requests of `generate()`) goes through vLLM's own `process_outputs`. For the same one version as
the direct path; `ENGINE_READER=vllm` leaves vLLM's tasks in place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_left
from typing import Any

import vllm.envs
import zmq
from vllm.v1.engine.core_client import AsyncMPClient, _process_utility_output
from vllm.v1.metrics.stats import IterationStats

from kodify.engine.vllm_direct import DirectState

log = logging.getLogger(__name__)

# Steps taken in one go before the rest of the loop has its turn; an engine that is ahead of us has more waiting.
MOST_STEPS_AT_ONCE = 4


class OutputReader:
    """Takes the place of `AsyncLLM._run_output_handler` and `AsyncMPClient._ensure_output_queue_task`."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._core = engine.engine_core
        self._outputs = engine.output_processor
        self._resources = self._core.resources
        self._socket: Any = zmq.Socket.shadow(self._resources.output_socket)
        self._tasks: set[asyncio.Task[None]] = set()
        loggers: list[Any] = getattr(engine.logger_manager, "stat_loggers", [])
        # Its latencies are told to it all at once; other loggers want them the usual way.
        self._between_tokens = getattr(loggers[0], "histogram_inter_token_latency", None) if len(loggers) == 1 else None
        self._passes_on = not vllm.envs.VLLM_COMPUTE_NANS_IN_LOGITS  # it would have to count them
        self._loop: asyncio.AbstractEventLoop
        self._fd: Any = self._socket.getsockopt(zmq.FD)

    @staticmethod
    def suits(engine: Any) -> bool:
        """One engine process without multimodal caches, whose output nobody has begun to read."""
        begun = engine.output_handler is not None or engine.engine_core.resources.output_queue_task is not None
        plain = engine.renderer.mm_processor_cache is None
        tolerant = engine.vllm_config.parallel_config.enable_fault_tolerance
        return type(engine.engine_core) is AsyncMPClient and plain and not tolerant and not begun

    def install(self) -> None:
        self._core._ensure_output_queue_task = self._begin
        self._engine._run_output_handler = self._begin

    def _begin(self) -> None:
        """On the loop, with the first request. The two futures stand where vLLM looks for its tasks: it cancels
        the one when the engine's process has died, and takes a finished other one for a dead engine."""
        if self._resources.output_queue_task is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._engine.output_handler = self._loop.create_future()
        self._resources.output_queue_task = self._loop.create_future()
        self._resources.output_queue_task.add_done_callback(lambda _: self._end(None))
        self._loop.add_reader(self._fd, self._read)
        self._loop.call_soon(self._read)  # ZMQ tells of what comes, not of what has come

    def _read(self) -> None:
        if self._engine.output_handler.done():
            return
        try:
            for _ in range(MOST_STEPS_AT_ONCE):
                try:
                    frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    return
                self._resources.validate_alive(frames)
                outputs = self._core.decoder.decode(frames)
                if outputs.utility_output:
                    _process_utility_output(outputs.utility_output, self._core.utility_results)
                elif outputs.outputs or outputs.scheduler_stats:
                    self._handle(outputs)
            self._loop.call_soon(self._read)
        except Exception as error:
            self._end(error)

    def _handle(self, outputs: Any) -> None:
        """One engine step."""
        stats = IterationStats() if self._engine.log_stats and outputs.outputs else None
        rest = self._pass_on(outputs, stats) if self._passes_on else outputs.outputs
        if rest:
            processed = self._outputs.process_outputs(
                rest, outputs.timestamp, stats, weight_version=outputs.weight_version
            )
            if processed.reqs_to_abort:
                task = asyncio.create_task(self._core.abort_requests_async(processed.reqs_to_abort))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        self._outputs.update_scheduler_stats(outputs.scheduler_stats)
        if self._engine.logger_manager:
            self._record(outputs, stats)

    def _pass_on(self, outputs: Any, stats: Any) -> list[Any]:
        """Plain tokens to their answers; returns the outputs that need vLLM's whole code."""
        states, timestamp = self._outputs.request_states, outputs.timestamp
        latencies: list[float] = []
        tokens = 0
        rest = []
        for output in outputs.outputs:
            state = states.get(output.request_id)
            if (
                type(state) is not DirectState
                or not state.plain
                or state.is_prefilling
                or output.finish_reason is not None
                or output.events is not None
            ):
                rest.append(output)
                continue
            ids = output.new_token_ids
            if (own := state.stats) is not None:
                own.num_generation_tokens += len(ids)
                latencies.append(timestamp - own.last_token_ts)
                own.last_token_ts = timestamp
            tokens += len(ids)
            state.take(ids)
        if stats is not None:
            stats.num_generation_tokens += tokens
            stats.inter_token_latencies_iter += latencies
        return rest

    def _record(self, outputs: Any, stats: Any) -> None:
        """As vLLM does for each step, but for the latencies: one pass over them instead of a call for each."""
        latencies: list[float] = []
        if stats is not None and self._between_tokens is not None:
            latencies, stats.inter_token_latencies_iter = stats.inter_token_latencies_iter, []
        self._engine.logger_manager.record(
            engine_idx=outputs.engine_index,
            scheduler_stats=outputs.scheduler_stats,
            iteration_stats=stats,
            mm_cache_stats=self._engine.renderer.stat_mm_cache(),
        )
        if latencies and self._between_tokens is not None:
            observe_all(self._between_tokens[outputs.engine_index], latencies)

    def _end(self, error: Exception | None) -> None:
        """The engine has died, is being shut down, or what it said could not be read: every request ends."""
        handler = self._engine.output_handler
        if handler.done() and error is None:
            return
        if not handler.done():
            handler.set_result(None)
        if error is not None and not self._resources.engine_dead:
            log.error("the engine's output could not be handled", exc_info=error)
        reason = self._engine.dead_error if error is None else self._core._format_exception(error)
        self._outputs.propagate_error(reason)
        for waiting in self._core.utility_results.values():
            if not waiting.done():
                waiting.set_exception(reason)
        with contextlib.suppress(Exception):  # vLLM has closed the socket: its number may be another's by now
            self._loop.remove_reader(self._fd)


def observe_all(histogram: Any, values: list[float]) -> None:
    """Every value into a histogram of prometheus_client: what `observe` does, counted first."""
    counts: dict[int, int] = {}
    bounds = histogram._upper_bounds
    for value in values:
        bucket = bisect_left(bounds, value)
        counts[bucket] = counts.get(bucket, 0) + 1
    for bucket, count in counts.items():
        histogram._buckets[bucket].inc(count)
    histogram._sum.inc(sum(values))
