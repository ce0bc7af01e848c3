"""What the doors for editors' completions share: a hole in a file becomes a job, and its answer is trimmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kodify.api.models import ready_engine
from kodify.api.streaming import Encoder, GeneratedResponse
from kodify.autocomplete.desk import Desk
from kodify.autocomplete.newest import Running
from kodify.autocomplete.trimming import Trimming
from kodify.engine.base import Engine, Job
from kodify.errors import BadRequestError
from kodify.preprocess import fim, window
from kodify.preprocess.hole import Hole
from kodify.preprocess.languages import PLAIN, guess_language
from kodify.preprocess.presets import Preset
from kodify.preprocess.trim import Trimmer, TrimRules

DEFAULT_TOKENS = 64
BEFORE_CHATS = -1  # in the engine's queue
BEHIND_ALL = 1
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
    raw: bool = False  # the prefix is the prompt, markers and all, and the answer is not trimmed
    warm_up: bool = False  # nothing is to be said: only the engine's cache is to know the prompt


class Filled(GeneratedResponse):
    """Ends early where the text is whole, the time is up, or a newer completion has come."""

    def __init__(self, engine: Engine, job: Job, encoder: Encoder, ask: Ask, place: Place) -> None:
        super().__init__(engine, job, encoder, place.request.app.state.metrics)
        self._ask = ask
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ask, place, encoder = self._ask, self._place, self.encoder
        trimming = Trimming(
            encoder,
            1,
            lambda _: cutter(place.request.app.state.preset, ask.hole, least_indent=ask.least_indent, raw=ask.raw),
            streams=encoder.streams,
            crlf=ask.hole.crlf,
            deadline_s=ask.deadline_s,
            predict_s=ask.predict_s,
        )
        self.narrowed = trimming
        if place.running is not None:
            place.running.on_end = lambda: trimming.end(keep=False)
        try:
            await super().__call__(scope, receive, send)
        finally:
            place.leave()
        place.desk.ended(late=trimming.late, superseded=place.superseded)
        if encoder.finished and not encoder.failed and not place.superseded and not ask.warm_up:
            place.remember(ask, trimming.text(0), self.job, worth_keeping=not trimming.late)


class Place:
    """One ask on its way: who asks, what it may end, what its answer depends on."""

    def __init__(self, request: Request, ask: Ask) -> None:
        self.request = request
        self.desk: Desk = request.app.state.desk
        hole = ask.hole
        self.name: str | None = request.state.principal.name
        client = request.client.host if request.client is not None else ""
        self._who = self.name or f"{client} {ask.user or ''}"
        self.running: Running | None = None
        if request.app.state.settings.completion_supersede and not ask.warm_up:
            self.running = self.desk.newest.begin(self._who, hole.path, hole.prefix, hole.suffix)
        sampling = tuple(sorted(ask.sampling.items()))
        about = (self._who, hole.path, hole.language.id, hole.suffix, ask.max_tokens, ask.stop, sampling)
        worth_keeping = ask.sampling.get("temperature", 1.0) <= WARMEST and not ask.streams and not ask.warm_up
        self.about: Hashable | None = about if worth_keeping else None

    @property
    def superseded(self) -> bool:
        return self.running is not None and self.running.superseded

    def leave(self) -> None:
        if self.running is not None:
            self.desk.newest.done(self._who, self.running)

    def known(self, ask: Ask) -> str | None:
        return None if self.about is None else self.desk.find(self.about, ask.hole.prefix)

    def remember(self, ask: Ask, text: str, job: Job, *, worth_keeping: bool) -> None:
        if self.about is not None and worth_keeping:
            self.desk.keep(self.about, ask.hole.prefix, text)
        self.desk.answered(job.id, self.name, ask.hole.language.id, job.model, [text])


async def fill(
    request: Request, engine: Engine, ask: Ask, make_encoder: Callable[[Job], Encoder], say: Callable[[str], Response]
) -> Response:
    """`say` makes an answer of a text that needs no engine."""
    place = Place(request, ask)
    try:
        text = place.known(ask)
        if text is not None:
            place.leave()
            return say(text)
        prompt = await _prompt(request.app.state.preset, engine, ask)
        if place.superseded or not prompt:
            place.leave()
            return say("")
        job = await _job(request.app.state.preset, engine, ask, prompt)
        return Filled(engine, job, make_encoder(job), ask, place)
    except BaseException:
        place.leave()
        raise


def tokens(request: Request, asked: int | None) -> int:
    """How many an answer may have: as asked, the preset's, never more than half of the context."""
    preset: Preset | None = request.app.state.preset
    wanted = asked or (preset.max_tokens if preset is not None else DEFAULT_TOKENS)
    return max(1, min(wanted, ready_engine(request).facts.context_tokens // 2))


def deadline_s(request: Request, asked_ms: float | None) -> float:
    """The request's, or the server's where that is sooner."""
    most: float = request.app.state.settings.completion_deadline_s
    return most if asked_ms is None or asked_ms <= 0 else min(most, asked_ms / 1e3)


def temperature(request: Request, asked: float | None) -> float:
    if asked is None:
        preset: Preset | None = request.app.state.preset
        return preset.temperature if preset is not None else 0.0
    if not 0 <= asked <= 2:
        raise BadRequestError(f"temperature must be in the range from 0 to 2, got {asked:g}.", param="temperature")
    return asked


def cutter(preset: Preset | None, hole: Hole, *, least_indent: int = 0, raw: bool = False) -> Trimmer:
    """What of the model's text is shown."""
    rules = preset.rules if preset is not None else TrimRules()
    if raw:
        rules = TrimRules(enabled=False)
    language = hole.language
    if language is PLAIN and hole.path is None:  # not every client says
        language = guess_language(hole.prefix, hole.suffix)
    return Trimmer(hole.prefix, hole.suffix, language, rules=rules, least_indent=least_indent)


async def prompt_ids(preset: Preset | None, engine: Engine, hole: Hole, budget_tokens: int) -> list[int]:
    """Long texts are tokenized in a thread."""
    vocabulary = engine.vocabulary
    if window.characters(hole, budget_tokens) <= vocabulary.quick_characters:
        return window.prompt_ids(hole, preset, vocabulary, budget_tokens)
    return await asyncio.to_thread(window.prompt_ids, hole, preset, vocabulary, budget_tokens)


async def _prompt(preset: Preset | None, engine: Engine, ask: Ask) -> list[int] | str:
    if ask.raw:
        return ask.hole.prefix
    return await prompt_ids(preset, engine, ask.hole, engine.facts.context_tokens - ask.max_tokens)


async def _job(preset: Preset | None, engine: Engine, ask: Ask, prompt: list[int] | str) -> Job:
    body = {
        "model": engine.facts.names[0],
        "prompt": prompt,
        "max_tokens": 1 if ask.warm_up else ask.max_tokens,
        "stream": True,  # the engine's text is looked at as it comes
        "stop_token_ids": fim.stop_ids(preset, engine.vocabulary) if preset is not None else [],
        **ask.sampling,
    }
    if stops := [*ask.stop, *(preset.stop_texts if preset is not None else ())]:
        body["stop"] = stops
    job = await engine.completion_job(engine.parse_completion(body), f"cmpl-{uuid4()}")
    return replace(job, priority=BEHIND_ALL if ask.warm_up else BEFORE_CHATS, tells_cached=True)
