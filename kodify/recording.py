"""The journal's ear: hears the deltas on their way to the client and puts the assembled answer when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kodify.engine.base import Delta, Job, Sink, TokenLogprob, ToolCallDelta
from kodify.journal.record import CUT, LEFT, Record


class Told(Sink, Protocol):
    """An answer that can say what it told, as one JSON body."""

    finished: bool
    completion_tokens: int
    first_at: float
    streams: bool
    status: int  # of the answer; a failure after its start has the failure's

    def assembled(self, choices: Sequence[Delta]) -> bytes:
        """`choices`: for a stream, what each choice has said."""


class Recorder:
    """A sink before another one. The entry is put in the call that brings the last delta, before its bytes leave."""

    def __init__(self, answer: Told, record: Record, job: Job) -> None:
        self._answer = answer
        self._record = record
        count = job.choices * len(job.prompts)
        self._texts: list[list[str]] = [[] for _ in range(count)] if answer.streams else []
        self._rich: dict[int, list[Delta]] = {}
        self._reasons: list[str] = []
        record.model = job.model
        record.prompt_tokens = job.prompt_tokens

    def emit(self, delta: Delta) -> None:
        answer = self._answer
        if self._texts:
            self._texts[delta.index].append(delta.text)
            if delta.finish_reason is not None or delta.reasoning or delta.tool_calls or delta.logprobs is not None:
                self._rich.setdefault(delta.index, []).append(delta)
        if delta.finish_reason is not None and delta.finish_reason not in self._reasons:
            self._reasons.append(delta.finish_reason)
        answer.emit(delta)
        if answer.finished:
            self._end(answer.status)

    def fail(self, error: Exception) -> None:
        self._answer.fail(error)
        self._end(self._answer.status)

    def leave(self, *, cut: bool) -> None:
        """The client left, or (`cut`) the server stopped, before the answer was whole."""
        self._end(CUT if cut else LEFT, cancelled=True)

    def _end(self, status: int, *, cancelled: bool = False) -> None:
        if self._record.ended:
            return
        answer = self._answer
        self._record.end(
            status,
            answer.assembled([self._merged(index) for index in range(len(self._texts))]),
            completion_tokens=answer.completion_tokens,
            first_at=answer.first_at if answer.streams else 0.0,
            finish_reason=",".join(self._reasons) or None,
            cancelled=cancelled,
        )

    def _merged(self, index: int) -> Delta:
        text, rich = "".join(self._texts[index]), self._rich.get(index, ())
        last = rich[-1] if rich else None
        logprobs = [position for delta in rich if delta.logprobs is not None for position in delta.logprobs]
        return Delta(
            index,
            text,
            finish_reason=last.finish_reason if last else None,
            stop_reason=last.stop_reason if last else None,
            logprobs=logprobs if any(delta.logprobs is not None for delta in rich) else None,
            prompt_logprobs=_first_prompt_logprobs(rich),
            reasoning="".join(delta.reasoning for delta in rich if delta.reasoning) or None,
            tool_calls=_merged_calls([call for delta in rich for call in delta.tool_calls]),
            cached_tokens=last.cached_tokens if last else None,
        )


def _first_prompt_logprobs(deltas: Sequence[Delta]) -> Sequence[TokenLogprob | None] | None:
    return next((delta.prompt_logprobs for delta in deltas if delta.prompt_logprobs is not None), None)


def _merged_calls(pieces: Sequence[ToolCallDelta]) -> tuple[ToolCallDelta, ...]:
    calls: dict[int, ToolCallDelta] = {}
    for piece in pieces:
        known = calls.get(piece.index)
        if known is None:
            calls[piece.index] = piece
        else:
            arguments = (known.arguments or "") + (piece.arguments or "")
            calls[piece.index] = ToolCallDelta(
                piece.index, known.id or piece.id, known.name or piece.name, arguments or None
            )
    return tuple(calls[index] for index in sorted(calls))
