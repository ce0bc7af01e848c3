"""What another server streams, into deltas: text at once, the end of a choice when the usage is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from kodify.engine.base import Delta, Sink, TokenLogprob, ToolCallDelta
from kodify.engine.upstream_requests import UpstreamJob


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    prompt_logprobs: list[dict[str, Any] | None] | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None


class Chunk(msgspec.Struct):
    """An event of a stream, or a whole answer."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    prompt_logprobs: list[dict[str, Any] | None] | None = None
    error: Any = None


DECODER = msgspec.json.Decoder(Chunk)


class Events:
    """Server-sent events out of pieces of bytes as they come. `name`: of the event whose data has just come, if it has
    one."""

    def __init__(self) -> None:
        self.name = ""
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event; comments are left out. A `data:` line is an event: JSON has no others."""
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
                self.name = ""
            elif line.startswith(b"event:"):
                self.name = line[6:].strip().decode(errors="replace")


class Telling:
    """Tells a job's sink what comes from one upstream. A whole answer is told when all of it is there.

    The tokens behind a piece of text are not known before the usage comes at the end: each piece counts as one, and
    the last delta has the rest.
    """

    def __init__(self, job: UpstreamJob, sink: Sink) -> None:
        self._job = job
        self._sink = sink
        self._running = set(range(job.choices * len(job.prompts)))
        self._count = len(self._running)
        self._ends: list[Delta] = []
        self._said: dict[int, list[Delta]] = {}
        self._tokens = 0
        self._usage: _Usage | None = None
        self.told = False

    @property
    def complete(self) -> bool:
        return not self._running

    def take(self, chunk: Chunk) -> None:
        """Raises ValueError where the upstream says what can't be."""
        if chunk.usage is not None:
            self._usage = chunk.usage
            self._job.plan.prompt_tokens = chunk.usage.prompt_tokens
        for choice in chunk.choices or ():
            self._take(choice, chunk.prompt_logprobs)

    def end(self) -> None:
        """The upstream has said all. May be called again."""
        usage = self._usage or _Usage()
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details is not None else None
        ends, self._ends = sorted(self._ends, key=lambda delta: delta.index), []
        for position, delta in enumerate(ends):
            last = position == len(ends) - 1
            rest = max(0, (usage.completion_tokens or 0) - self._tokens) if last else 0
            self.told = True
            ids = (0,) * (len(delta.token_ids) + rest)
            self._sink.emit(msgspec.structs.replace(delta, token_ids=ids, cached_tokens=cached))

    def _take(self, choice: _Choice, prompt_logprobs: Sequence[dict[str, Any] | None] | None) -> None:
        index = choice.index
        if not 0 <= index < self._count:
            raise ValueError(f"there is no choice {index}")
        if index not in self._running:
            return
        message = choice.delta or choice.message or _Message()
        logprobs = None if choice.logprobs is None else _logprobs(choice.logprobs)
        text = choice.text or message.content or ""
        reasoning = message.reasoning_content or message.reasoning
        calls = tuple(_call(call, position) for position, call in enumerate(message.tool_calls or ()))
        tokens = len(logprobs or ()) or int(bool(text or reasoning or calls))
        self._tokens += tokens
        delta = Delta(
            index,
            text,
            (0,) * tokens,
            choice.finish_reason,
            choice.stop_reason,
            logprobs,
            _prompt_logprobs(choice.prompt_logprobs or prompt_logprobs),
            _sum(logprobs),
            reasoning or None,
            calls,
        )
        if choice.finish_reason is not None:
            self._running.discard(index)
        if not self._job.plan.streamed:
            self._said.setdefault(index, []).append(delta)
            if choice.finish_reason is not None:
                self._ends.append(_joined(self._said.pop(index)))
            return
        if choice.finish_reason is None:
            if tokens or logprobs is not None:
                self.told = True
                self._sink.emit(delta)
            return
        if tokens:  # what it says does not wait for the usage
            self.told = True
            self._sink.emit(msgspec.structs.replace(delta, finish_reason=None, stop_reason=None))
        self._ends.append(Delta(index, "", (), choice.finish_reason, choice.stop_reason))


def _joined(deltas: Sequence[Delta]) -> Delta:
    """A choice's deltas as one."""
    last = deltas[-1]
    logprobs = [position for delta in deltas for position in delta.logprobs or ()]
    has_logprobs = any(delta.logprobs is not None for delta in deltas)
    return Delta(
        last.index,
        "".join(delta.text for delta in deltas),
        (0,) * sum(len(delta.token_ids) for delta in deltas),
        last.finish_reason,
        last.stop_reason,
        logprobs if has_logprobs else None,
        next((delta.prompt_logprobs for delta in deltas if delta.prompt_logprobs is not None), None),
        sum(delta.cumulative_logprob or 0.0 for delta in deltas) if has_logprobs else None,
        "".join(delta.reasoning or "" for delta in deltas) or None,
        _joined_calls([call for delta in deltas for call in delta.tool_calls]),
    )


def _joined_calls(pieces: Sequence[ToolCallDelta]) -> tuple[ToolCallDelta, ...]:
    found: dict[int, list[ToolCallDelta]] = {}
    for piece in pieces:
        found.setdefault(piece.index, []).append(piece)
    return tuple(
        ToolCallDelta(
            index,
            next((piece.id for piece in own if piece.id), None),
            next((piece.name for piece in own if piece.name), None),
            "".join(piece.arguments or "" for piece in own),
        )
        for index, own in sorted(found.items())
    )


def _call(call: _Call, position: int) -> ToolCallDelta:
    function = call.function or _Function()
    return ToolCallDelta(position if call.index is None else call.index, call.id, function.name, function.arguments)


def _logprobs(found: dict[str, Any]) -> list[TokenLogprob]:
    """Of a chat (`content`), or of a completion (parallel lists)."""
    if isinstance(content := found.get("content"), list):
        return [_token(one, one.get("top_logprobs")) for one in content]
    tokens, values = found.get("tokens") or [], found.get("token_logprobs") or []
    tops = found.get("top_logprobs") or [None] * len(tokens)
    return [_ranked(*one) for one in zip(tokens, values, tops, strict=False)]


def _token(one: dict[str, Any], top: list[dict[str, Any]] | None = None) -> TokenLogprob:
    alternatives = tuple(_token(other) for other in top or ())
    return TokenLogprob(one.get("id", 0), one["token"], float(one["logprob"]), top=alternatives)


def _ranked(token: str, value: float | None, top: dict[str, float] | None) -> TokenLogprob:
    """An echoed prompt's first token has no logprob: NaN, which JSON has as null."""
    alternatives = tuple(TokenLogprob(0, name, float(logprob)) for name, logprob in (top or {}).items())
    return TokenLogprob(0, token, math.nan if value is None else float(value), top=alternatives)


def _prompt_logprobs(positions: Sequence[dict[str, Any] | None] | None) -> list[TokenLogprob | None] | None:
    if positions is None:
        return None
    found: list[TokenLogprob | None] = []
    for position in positions:
        entries = [
            TokenLogprob(int(index), one.get("decoded_token") or "", float(one["logprob"]), one.get("rank"))
            for index, one in (position or {}).items()
        ]
        found.append(msgspec.structs.replace(entries[0], top=tuple(entries[1:])) if entries else None)
    return found


def _sum(positions: Sequence[TokenLogprob] | None) -> float | None:
    if positions is None:
        return None
    return sum(position.logprob for position in positions if not math.isnan(position.logprob))
