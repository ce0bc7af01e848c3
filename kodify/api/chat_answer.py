"""Chat answers in OpenAI's dialect, whole and streamed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import orjson

from kodify.api.outlet import EVENT_STREAM
from kodify.api.streaming import DONE, Encoder, WholeEncoder
from kodify.engine.base import Delta, Job, ToolCallDelta
from kodify.protocol import openai

Sources = list[dict[str, Any]] | None  # what was found for the question; None where nothing was looked for


class ChatWhole(WholeEncoder):
    def __init__(self, job: Job, sources: Sources = None) -> None:
        super().__init__()
        self._job = job
        self._sources = sources
        self._created = int(time.time())
        self._choices: dict[int, Delta] = {}

    def emit(self, delta: Delta) -> None:
        if delta.finish_reason is None or self.finished:
            return  # a whole answer comes as one delta a choice, its last
        self.first_at = self.first_at or time.monotonic()
        self.completion_tokens += len(delta.token_ids)
        self._choices[delta.index] = delta
        self._keep(delta)
        if len(self._choices) == self._job.choices:
            self._answer()

    def whole(self, choices: Sequence[Delta]) -> dict[str, Any]:
        collected = [self._choices[index] for index in sorted(self._choices)]
        return _whole(self._job, self._created, collected, self.completion_tokens, self._sources)


def _whole(job: Job, created: int, choices: Sequence[Delta], tokens: int, sources: Sources) -> dict[str, Any]:
    last = choices[-1] if choices else None
    whole = {
        "id": job.id,
        "object": "chat.completion",
        "created": created,
        "model": job.model,
        "choices": [_choice(delta) for delta in choices],
        "usage": openai.usage(job.prompt_tokens, tokens, last.cached_tokens if last else None),
        "prompt_logprobs": openai.prompt_logprobs(last.prompt_logprobs) if last else None,
    }
    return whole if sources is None else {**whole, "sources": sources}


def _choice(delta: Delta) -> dict[str, Any]:
    return {
        "index": delta.index,
        "message": {
            "role": "assistant",
            "reasoning_content": delta.reasoning,
            "content": delta.text or None if delta.tool_calls else delta.text,
            "tool_calls": openai.tool_calls(delta.tool_calls),
        },
        "logprobs": openai.chat_logprobs(delta.logprobs),
        "finish_reason": delta.finish_reason,
        "stop_reason": delta.stop_reason,
    }


class ChatStream(Encoder):
    """One event a delta, from a template made once for each choice."""

    streams = True

    def __init__(
        self, job: Job, *, include_usage: bool, continuous_usage: bool = False, sources: Sources = None
    ) -> None:
        """The `sources` come with the first event of each choice."""
        super().__init__()
        self._job = job
        self._sources = sources
        self._told_sources = b"" if sources is None else b',"sources":' + orjson.dumps(sources)
        self._include_usage = include_usage
        self._continuous = continuous_usage
        self._running = job.choices
        self._tokens = [0] * job.choices if continuous_usage else []
        self._cached_tokens: int | None = None
        self._null_usage = b',"usage":null' if include_usage and not continuous_usage else b""
        self._created = int(time.time())
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            orjson.dumps(job.id),
            self._created,
            orjson.dumps(job.model),
        )
        self._prefixes = [b'%b{"index":%d,"delta":' % (self._head, index) for index in range(job.choices)]

    def emit(self, delta: Delta) -> None:
        if self.finished:
            return
        index = delta.index
        self.completion_tokens += len(delta.token_ids)
        if self._continuous:
            self._tokens[index] += len(delta.token_ids)
        opening = b"" if self.outlet.opened else self._open()
        if delta.finish_reason is None:
            plain = not (delta.tool_calls or delta.reasoning or delta.logprobs or self._continuous)
            if plain:
                if self.said is not None:
                    self.said[index].append(delta.text)
                if delta.text:  # a step may add half a character, or text held back for a stop string: no event
                    self.outlet.write(
                        b'%b%b{"content":%b},"logprobs":null,"finish_reason":null}]%b}\n\n'
                        % (opening, self._prefixes[index], orjson.dumps(delta.text), self._null_usage)
                    )
                elif opening:
                    self.outlet.write(opening)
                return
            self._keep(delta)
            self.outlet.write(opening + self._event(delta, b"null}]"))
            return
        self._keep(delta)
        self._running -= 1
        self._cached_tokens = delta.cached_tokens
        reasons = b'%b,"stop_reason":%b}]' % (orjson.dumps(delta.finish_reason), orjson.dumps(delta.stop_reason))
        event = opening + self._event(delta, reasons)
        if self._running:
            self.outlet.write(event)
            return
        self.outlet.write(event + self._usage_event() + DONE, last=True)
        self._end()

    def whole(self, choices: Sequence[Delta]) -> dict[str, Any]:
        return _whole(self._job, self._created, choices, self.completion_tokens, self._sources)

    def plainly_assembled(self, text: str, last: Delta) -> bytes:
        dumps, job = orjson.dumps, self._job
        return (
            b'{"id":%b,"object":"chat.completion","created":%d,"model":%b,"choices":[{"index":0,"message":'
            b'{"role":"assistant","reasoning_content":null,"content":%b,"tool_calls":[]},"logprobs":null,'
            b'"finish_reason":"%b","stop_reason":%b}],"usage":%b,"prompt_logprobs":null%b}'
        ) % (
            dumps(job.id),
            self._created,
            dumps(job.model),
            dumps(text),
            (last.finish_reason or "").encode(),
            b"null" if last.stop_reason is None else dumps(last.stop_reason),
            openai.usage_json(job.prompt_tokens, self.completion_tokens, last.cached_tokens),
            self._told_sources,
        )

    def _open(self) -> bytes:
        """The headers go out; the first event of each choice tells the role."""
        self.first_at = time.monotonic()
        self.outlet.open(200, EVENT_STREAM)
        tail = b'{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]%b%b}\n\n' % (
            self._null_usage,
            self._told_sources,
        )
        return b"".join(prefix + tail for prefix in self._prefixes)

    def _event(self, delta: Delta, reasons: bytes) -> bytes:
        return b'%b%b,"logprobs":%b,"finish_reason":%b%b}\n\n' % (
            self._prefixes[delta.index],
            orjson.dumps(_message(delta.text, delta.reasoning, delta.tool_calls)),
            orjson.dumps(openai.chat_logprobs(delta.logprobs)),
            reasons,
            self._usage_now(delta.index) if self._continuous else self._null_usage,
        )

    def _usage_now(self, index: int) -> bytes:
        return b',"usage":' + orjson.dumps(openai.usage(self._job.prompt_tokens, self._tokens[index], None))

    def _usage_event(self) -> bytes:
        if not self._include_usage:
            return b""
        usage = openai.usage(self._job.prompt_tokens, self.completion_tokens, self._cached_tokens)
        return b'%b],"usage":%b}\n\n' % (self._head, orjson.dumps(usage))


def _message(text: str, reasoning: str | None, calls: Sequence[ToolCallDelta]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    if reasoning:
        message["reasoning_content"] = reasoning
    if text or not (reasoning or calls):
        message["content"] = text
    if calls:
        message["tool_calls"] = openai.tool_call_deltas(calls)
    return message
