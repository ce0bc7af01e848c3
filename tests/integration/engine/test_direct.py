"""The direct path's channel: nothing that an answer does may end vLLM's output loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from kodify.engine.base import Delta
from kodify.engine.vllm_direct import DirectTicket, _Channel
from kodify.errors import EngineFailedError


@dataclass
class BrokenSink:
    failures: list[Exception] = field(default_factory=list)

    def emit(self, delta: Delta) -> None:
        raise ZeroDivisionError

    def fail(self, error: Exception) -> None:
        self.failures.append(error)
        raise ZeroDivisionError


class Aborts:
    def __init__(self) -> None:
        self.ids: list[str] = []

    def abort(self, request_ids: list[str]) -> None:
        self.ids += request_ids


def test_an_answer_that_breaks_ends_alone_and_is_aborted() -> None:
    sink, aborts = BrokenSink(), Aborts()
    broken = _Channel(sink, 0, None, whole=False, show_cached=False)
    done = _Channel(sink, 1, None, whole=False, show_cached=False)
    done.ended = True
    broken.emit(Delta(0, "text"))
    broken.emit(Delta(0, "more"))
    assert broken.closed
    assert [type(error) for error in sink.failures] == [EngineFailedError]
    ticket = DirectTicket(aborts)  # type: ignore[arg-type]
    ticket.running = [("broken", broken), ("done", done)]
    ticket.cancel()
    assert aborts.ids == ["broken"]
