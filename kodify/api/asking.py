"""A completion that is asked for: who asks, what it ends, what its answer depends on."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from kodify.autocomplete.desk import Desk
from kodify.autocomplete.newest import Running
from kodify.preprocess.hole import Hole

WARMEST = 0.2  # the highest temperature whose answers are worth keeping


@dataclass(frozen=True, slots=True)
class Ask:
    """A completion that somebody waits for in an editor. Times are seconds."""

    hole: Hole
    max_tokens: int
    sampling: dict[str, Any]
    user: str | None = None  # as the client says, where clients share a token
    stop: tuple[str, ...] = ()
    streams: bool = False
    deadline_s: float | None = None
    predict_s: float | None = None
    least_indent: int = 0
    keeps: bool = True  # the answer may be given again
    raw: bool = False  # the prefix is the prompt, markers and all, and the answer is not trimmed
    warm_up: bool = False  # nothing is to be said: only the engine's cache is to know the prompt

    @property
    def is_worth_keeping(self) -> bool:
        once = self.streams or self.raw or self.warm_up or not self.keeps
        return not once and self.sampling.get("temperature", 1.0) <= WARMEST


class Place:
    """One ask on its way: who asks, what it may end, what its answer depends on."""

    def __init__(self, request: Request, model: Hashable, ask: Ask) -> None:
        """`model`: what tells it from any other, and from itself before it was loaded again."""
        self.request = request
        self.desk: Desk = request.app.state.desk
        self._hole = hole = ask.hole
        self._name: str | None = request.state.principal.name
        client = request.client.host if request.client is not None else ""
        self._who = self._name or f"{client} {ask.user or ''}"
        self._running: Running | None = None
        if request.app.state.settings.completion_supersede and not ask.warm_up:
            document = None if hole.path is None else f"{hole.repository or ''} {hole.path}"
            is_sure = self._name is not None or ask.user is not None
            self._running = self.desk.newest.begin(self._who, document, hole.prefix, hole.suffix, is_sure=is_sure)
        self._about: Hashable | None = None
        if ask.is_worth_keeping:
            # Of long texts a digest: a file below the cursor may have megabytes.
            texts = (len(hole.suffix), hash(hole.suffix), hash(hole.context))
            file = (hole.path, hole.repository, hole.language.id, texts)
            sampling = tuple(sorted(ask.sampling.items()))
            self._about = (self._who, model, file, ask.max_tokens, ask.stop, ask.least_indent, sampling)

    @property
    def superseded(self) -> bool:
        return self._running is not None and self._running.superseded

    def on_end(self, call: Callable[[], None]) -> None:
        """`call` ends the answer when a newer one has come."""
        if self._running is not None:
            self._running.on_end = call

    def leave(self) -> None:
        if self._running is not None:
            self._running.on_end = None
            self.desk.newest.done(self._who, self._running)

    def known(self) -> str | None:
        return None if self._about is None else self.desk.find(self._about, self._hole.prefix)

    def keep(self, text: str) -> None:
        if self._about is not None:
            self.desk.keep(self._about, self._hole.prefix, text)

    def answered(self, completion_id: str, model: str, text: str) -> None:
        self.desk.answered(completion_id, self._name, self._hole.language.id, model, [text])
