"""The journal's ear: puts the assembled answer when it has ended, before its last bytes leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    # A stream keeps here what each choice says, and the deltas that bring more than text or are a choice's last. By
    # the answer itself: another sink before it would cost every token a call.
    said: list[list[str]] | None
    rich: list[Delta]
    reasons: list[str]  # why choices ended
    on_end: Callable[[], None] | None  # called with the last delta, or the failure

    def assembled(self, choices: Sequence[Delta]) -> bytes:
        """`choices`: for a stream, what each choice has said."""

    def plainly_assembled(self, text: str, last: Delta) -> bytes:
        """The same for the common stream, quicker: one choice that said nothing but text."""


class Recorder:
    def __init__(self, answer: Told, record: Record, job: Job) -> None:
        self._answer = answer
        self._record = record
        self._job = job
        record.model = job.model
        record.prompt_tokens = job.prompt_tokens
        answer.on_end = self._end
        if answer.streams:
            answer.said = [[] for _ in range(job.choices * len(job.prompts))]

    def leave(self, *, cut: bool) -> None:
        """The client left, or (`cut`) the server stopped, before the answer was whole."""
        self._record.end_with(lambda: self._entry(CUT if cut else LEFT, cancelled=True))

    def _end(self) -> None:
        self._record.end_with(self._entry, soon=True)

    def _entry(self, status: int | None = None, *, cancelled: bool = False) -> Record:
        answer, record = self._answer, self._record
        status = status or answer.status
        record.prompt_tokens = self._job.prompt_tokens  # an upstream tells at its end
        said, rich = answer.said or (), answer.rich
        if len(said) == len(rich) == 1 and status == 200 and _is_plain(rich[0]):
            response = answer.plainly_assembled("".join(said[0]), rich[0])
        else:
            response = answer.assembled([self._merged(index, texts) for index, texts in enumerate(said)])
        record.fill(
            status,
            response,
            completion_tokens=answer.completion_tokens,
            first_at=answer.first_at if answer.streams else 0.0,
            finish_reason=_joined(answer.reasons),
            cancelled=cancelled,
        )
        return record

    def _merged(self, index: int, said: list[str]) -> Delta:
        text, rich = "".join(said), [delta for delta in self._answer.rich if delta.index == index]
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


def _is_plain(last: Delta) -> bool:
    return last.finish_reason is not None and not (
        last.tool_calls or last.reasoning or last.logprobs is not None or last.prompt_logprobs is not None
    )


def _joined(reasons: list[str]) -> str | None:
    return reasons[0] if len(reasons) == 1 else ",".join(dict.fromkeys(reasons)) or None


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
