"""Text completions in OpenAI's dialect, whole and streamed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from kodify.api.outlet import EVENT_STREAM
from kodify.api.streaming import DONE, Encoder, WholeEncoder
from kodify.engine.base import Delta, Job, TokenLogprob
from kodify.protocol import openai


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the request asked of its answer. `keep` is `n`: of `best_of` candidates the best are kept."""

    keep: int
    echo: bool = False
    echo_only: bool = False  # echo with max_tokens 0: the prompt alone
    logprobs: bool = False
    include_usage: bool = False
    echo_texts: tuple[str, ...] = ()
    first_tokens: tuple[str, ...] = ()


class CompletionWhole(WholeEncoder):
    def __init__(self, job: Job, wishes: Wishes) -> None:
        super().__init__()
        self._job = job
        self._wishes = wishes
        self._created = int(time.time())
        self._deltas: dict[int, Delta] = {}

    def emit(self, delta: Delta) -> None:
        if delta.finish_reason is None or self.finished:
            return
        self.first_at = self.first_at or time.monotonic()
        self._deltas[delta.index] = delta
        self.completion_tokens += len(delta.token_ids)
        self._keep(delta)
        if len(self._deltas) == self._job.choices * len(self._job.prompts):
            self._answer()

    def whole(self, choices: Sequence[Delta]) -> dict[str, Any]:
        kept = [delta for position in range(len(self._job.prompts)) for delta in self._best(position)]
        return _whole(self._job, self._wishes, self._created, kept, self.completion_tokens)

    def _best(self, position: int) -> list[Delta]:
        """The prompt's choices; of more candidates than asked for, those of the highest logprob a token."""
        first = position * self._job.choices
        own = [found for index in range(self._job.choices) if (found := self._deltas.get(first + index)) is not None]
        if len(own) <= self._wishes.keep:
            return own
        own.sort(key=lambda delta: -(delta.cumulative_logprob or 0.0) / max(1, len(delta.token_ids)))
        return own[: self._wishes.keep]


def _whole(job: Job, wishes: Wishes, created: int, choices: Sequence[Delta], completion_tokens: int) -> dict[str, Any]:
    tokens = 0 if wishes.echo_only else completion_tokens
    return {
        "id": job.id,
        "object": "text_completion",
        "created": created,
        "model": job.model,
        "choices": [_choice(job, wishes, index, delta) for index, delta in enumerate(choices)],
        "usage": openai.usage(job.prompt_tokens, tokens, choices[0].cached_tokens if choices else None),
    }


def _choice(job: Job, wishes: Wishes, index: int, delta: Delta) -> dict[str, Any]:
    position, text = delta.index // job.choices, delta.text
    positions: list[TokenLogprob | None] | None = list(delta.logprobs or ()) if wishes.logprobs else None
    if wishes.echo:
        text = wishes.echo_texts[position] + ("" if wishes.echo_only else text)
        if positions is not None:
            positions = [*(delta.prompt_logprobs or ()), *([] if wishes.echo_only else positions)]
    return {
        "index": index,
        "text": text,
        "logprobs": openai.completion_logprobs(
            positions, 0, wishes.first_tokens[position] if wishes.first_tokens else ""
        ),
        "finish_reason": delta.finish_reason,
        "stop_reason": delta.stop_reason,
        "prompt_logprobs": openai.prompt_logprobs(delta.prompt_logprobs),
    }


class CompletionStream(Encoder):
    streams = True

    def __init__(self, job: Job, wishes: Wishes) -> None:
        super().__init__()
        self._job = job
        self._wishes = wishes
        count = job.choices * len(job.prompts)
        self._running = count
        self._begun = [False] * count
        self._offsets = [0] * count
        self._cached_tokens: int | None = None
        self._null_usage = b',"usage":null' if wishes.include_usage else b""
        self._created = int(time.time())
        self._head = b'data: {"id":%b,"object":"text_completion","created":%d,"model":%b,"choices":[' % (
            orjson.dumps(job.id),
            self._created,
            orjson.dumps(job.model),
        )
        self._prefixes = [b'%b{"index":%d,"text":' % (self._head, index) for index in range(count)]

    def emit(self, delta: Delta) -> None:
        if self.finished:
            return
        index, wishes = delta.index, self._wishes
        if not self.outlet.opened:
            self.first_at = time.monotonic()
            self.outlet.open(200, EVENT_STREAM)
        self.completion_tokens += len(delta.token_ids)
        text, positions = delta.text, self._positions(delta)
        if wishes.echo and not self._begun[index]:
            text = wishes.echo_texts[index // self._job.choices] + ("" if wishes.echo_only else text)
        self._begun[index] = True
        logprobs = b"null" if positions is None else self._logprobs(index, positions)
        if positions is not None or delta.finish_reason is not None:
            self._keep(delta)
        elif self.said is not None:
            self.said[index].append(delta.text)
        if delta.finish_reason is None:
            if text or positions:
                self.outlet.write(
                    b'%b%b,"logprobs":%b,"finish_reason":null}]%b}\n\n'
                    % (self._prefixes[index], orjson.dumps(text), logprobs, self._null_usage)
                )
            return
        self._running -= 1
        self._cached_tokens = delta.cached_tokens
        event = b'%b%b,"logprobs":%b,"finish_reason":%b,"stop_reason":%b}]%b}\n\n' % (
            self._prefixes[index],
            orjson.dumps(text),
            logprobs,
            orjson.dumps(delta.finish_reason),
            orjson.dumps(delta.stop_reason),
            self._null_usage,
        )
        if self._running:
            self.outlet.write(event)
            return
        self.outlet.write(event + self._usage_event() + DONE, last=True)
        self._end()

    def whole(self, choices: Sequence[Delta]) -> dict[str, Any]:
        return _whole(self._job, self._wishes, self._created, choices, self.completion_tokens)

    def plainly_assembled(self, text: str, last: Delta) -> bytes:
        dumps, job, wishes = orjson.dumps, self._job, self._wishes
        if wishes.echo:
            text = wishes.echo_texts[0] + ("" if wishes.echo_only else text)
        tokens = 0 if wishes.echo_only else self.completion_tokens
        return (
            b'{"id":%b,"object":"text_completion","created":%d,"model":%b,"choices":[{"index":0,"text":%b,"logprobs":null,'
            b'"finish_reason":"%b","stop_reason":%b,"prompt_logprobs":null}],"usage":%b}'
        ) % (
            dumps(job.id),
            self._created,
            dumps(job.model),
            dumps(text),
            (last.finish_reason or "").encode(),
            b"null" if last.stop_reason is None else dumps(last.stop_reason),
            openai.usage_json(job.prompt_tokens, tokens, last.cached_tokens),
        )

    def _positions(self, delta: Delta) -> list[TokenLogprob | None] | None:
        if not self._wishes.logprobs:
            return None
        own: list[TokenLogprob | None] = [] if self._wishes.echo_only else list(delta.logprobs or ())
        if self._wishes.echo and not self._begun[delta.index]:
            return [*(delta.prompt_logprobs or ()), *own]
        return own

    def _logprobs(self, index: int, positions: list[TokenLogprob | None]) -> bytes:
        first = self._wishes.first_tokens[index // self._job.choices] if self._wishes.first_tokens else ""
        shown = openai.completion_logprobs(positions, self._offsets[index], first)
        assert shown is not None
        # Text held back for a stop string lags behind the tokens: offsets follow the tokens.
        self._offsets[index] += sum(map(len, shown["tokens"]))
        return orjson.dumps(shown)

    def _usage_event(self) -> bytes:
        if not self._wishes.include_usage:
            return b""
        tokens = 0 if self._wishes.echo_only else self.completion_tokens
        usage = openai.usage(self._job.prompt_tokens, tokens, self._cached_tokens)
        return b'%b],"usage":%b}\n\n' % (self._head, orjson.dumps(usage))
