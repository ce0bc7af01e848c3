"""What the doors for editors' completions share: a hole in a file becomes a job, and its answer is trimmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kodify.api.asking import Ask, Place
from kodify.api.models import preset_of, refuse_if_full
from kodify.api.outlet import EVENT_STREAM
from kodify.api.record import record_of
from kodify.api.streaming import Encoder, GeneratedResponse
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
Say = Callable[[str, str], dict[str, Any]]
_EVENT_STREAM = {name.decode(): value.decode() for name, value in EVENT_STREAM}


class Filled(GeneratedResponse):
    """Ends early where the text is whole, the time is up, or a newer completion has come."""

    def __init__(self, engine: Engine, job: Job, encoder: Encoder, ask: Ask, place: Place) -> None:
        super().__init__(place.request, engine, job, encoder)
        self._ask = ask
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ask, place, encoder = self._ask, self._place, self.encoder
        preset = preset_of(place.request, self.engine)
        trimming = Trimming(
            self.answer,
            1,
            lambda _: cutter(preset, ask.hole, least_indent=ask.least_indent, raw=ask.raw),
            streams=encoder.streams,
            crlf=(ask.hole.crlf,),
            deadline_s=ask.deadline_s,
            predict_s=ask.predict_s,
        )
        self.narrowed = trimming
        place.on_end(lambda: trimming.end(keep=False))
        try:
            await super().__call__(scope, receive, send)
        finally:
            trimming.close()
            place.leave()
        place.desk.ended(late=trimming.late, superseded=place.superseded)
        flagged = self.screen is not None and self.screen.flagged
        if encoder.finished and not (encoder.failed or flagged or place.superseded or ask.warm_up):
            if not trimming.late:
                place.keep(trimming.text(0))
            place.answered(self.job.id, self.job.model, trimming.text(0))


async def fill(
    request: Request, engine: Engine, ask: Ask, make_encoder: Callable[[Job], Encoder], say: Say
) -> Response:
    """`say` makes the answer of a text that needs no engine, for an id."""
    place = Place(request, (engine.facts.names[0], engine.facts.started_at), ask)
    try:
        text = place.known()
        if text is not None:
            return _say(place, engine, ask, say, text, "cached")
        refuse_if_full(request, engine, is_quick=True)
        preset = preset_of(request, engine)
        prompt = await _prompt(preset, engine, ask)
        if not prompt:
            return _say(place, engine, ask, say, "", "stop")
        job = None if place.superseded else await _job(preset, engine, ask, prompt)
        if place.superseded or job is None:
            place.desk.ended(late=False, superseded=True)
            return _say(place, engine, ask, say, "", "superseded")
        return Filled(engine, job, make_encoder(job), ask, place)
    except BaseException:
        place.leave()
        raise


def _say(place: Place, engine: Engine, ask: Ask, say: Say, text: str, reason: str) -> Response:
    """An answer without the engine; the journal tells why there was one."""
    place.leave()
    completion_id, model = f"cmpl-{uuid4()}", engine.facts.names[0]
    if text:
        place.answered(completion_id, model, text)
    shown = text.replace("\n", "\r\n") if ask.hole.crlf else text
    data = orjson.dumps(say(completion_id, shown))
    record = record_of(place.request.scope)
    if record is not None:
        record.model = model
        record.end(200, data, finish_reason=reason, cancelled=reason == "superseded")
    if ask.streams:
        return Response(b"data: %b\n\n" % data, headers=dict(_EVENT_STREAM))
    return Response(data, media_type="application/json")


def tokens(preset: Preset | None, engine: Engine, asked: int | None) -> int:
    """How many an answer may have: as asked, the preset's, never more than half of the context."""
    wanted = asked or (preset.max_tokens if preset is not None else DEFAULT_TOKENS)
    return max(1, min(wanted, engine.facts.context_tokens // 2))


def deadline_s(request: Request, asked_ms: float | None) -> float:
    """The request's, or the server's where that is sooner."""
    most: float = request.app.state.settings.completion_deadline_s
    return most if asked_ms is None or asked_ms <= 0 else min(most, asked_ms / 1e3)


def temperature(preset: Preset | None, asked: float | None) -> float:
    if asked is None:
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
