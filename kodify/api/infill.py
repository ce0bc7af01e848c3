"""`POST /infill`, as llama.cpp's plugins for editors speak it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kodify.api.asking import Ask
from kodify.api.body import read_json
from kodify.api.fill import deadline_s, fill, temperature, tokens
from kodify.api.models import completion_engine, preset_of
from kodify.api.outlet import EVENT_STREAM
from kodify.api.shapes import read
from kodify.api.streaming import Encoder, WholeEncoder
from kodify.engine.base import Delta, Engine, Job
from kodify.errors import BadRequestError
from kodify.preprocess.hole import Hole, make_hole
from kodify.preprocess.presets import Preset
from kodify.protocol import infill

UNLIMITED_TOKENS = 1024  # what n_predict -1 means here
_SAMPLING = {
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}


async def create(request: Request) -> Response:
    body = await read_json(request)
    engine = completion_engine(request, body.get("model"))
    preset = preset_of(request, engine)
    wanted = read(body, infill.InfillRequest)
    ask = Ask(
        hole=_hole(wanted),
        max_tokens=_max_tokens(preset, engine, wanted.n_predict),
        sampling=_sampling(preset, wanted),
        stop=tuple(text for text in wanted.stop or () if text),
        streams=bool(wanted.stream),
        deadline_s=_deadline_s(request, wanted),
        predict_s=_seconds(wanted.t_max_predict_ms),
        least_indent=max(0, wanted.n_indent or 0),
        warm_up=wanted.n_predict == 0,
    )

    def describe(text: str, counted: infill.Counted) -> dict[str, Any]:
        whole = infill.answer(engine.facts.names[0], engine.facts.context_tokens, text, counted)
        return infill.pick(whole, wanted.response_fields)

    def make(job: Job) -> Encoder:
        make_one = InfillStream if ask.streams else InfillWhole
        return make_one(job, describe, silent=ask.warm_up)

    return await fill(request, engine, ask, make, lambda _, text: describe(text, infill.Counted()))


async def props(request: Request) -> Response:
    """As far as the plugins ask."""
    facts = completion_engine(request).facts
    name = facts.names[0]
    content = {
        "default_generation_settings": {"n_ctx": facts.context_tokens},
        "total_slots": 1,
        "model_alias": name,
        "model_path": name,
    }
    return Response(orjson.dumps(content), media_type="application/json")


Describe = Callable[[str, infill.Counted], dict[str, Any]]


class _Clock:
    """What an answer tells of its tokens and its time."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._began = time.monotonic()
        self._cached = 0
        self._reason: str | None = None

    def note(self, delta: Delta) -> None:
        self._cached = delta.cached_tokens or self._cached
        self._reason = delta.finish_reason

    def counted(self, first_at: float, predicted: int) -> infill.Counted:
        now = time.monotonic()
        first_at = first_at or now
        return infill.Counted(
            self._job.prompt_tokens, self._cached, first_at - self._began, predicted, now - first_at, self._reason
        )


class InfillWhole(WholeEncoder):
    def __init__(self, job: Job, describe: Describe, *, silent: bool) -> None:
        super().__init__()
        self._describe = describe
        self._clock = _Clock(job)
        self._silent = silent
        self._text = ""

    def emit(self, delta: Delta) -> None:
        if delta.finish_reason is None or self.finished:
            return
        self.completion_tokens += len(delta.token_ids)
        self._clock.note(delta)
        self._text = "" if self._silent else delta.text
        self._keep(delta)
        self._answer()

    def whole(self, choices: Sequence[Delta]) -> dict[str, Any]:
        return self._describe(self._text, self._clock.counted(self.first_at, self.completion_tokens))


class InfillStream(Encoder):
    """Pieces, and at last one event that has everything but the text."""

    streams = True

    def __init__(self, job: Job, describe: Describe, *, silent: bool) -> None:
        super().__init__()
        self._describe = describe
        self._clock = _Clock(job)
        self._silent = silent

    def emit(self, delta: Delta) -> None:
        if self.finished:
            return
        if not self.outlet.opened:
            self.outlet.open(200, EVENT_STREAM)
        self.completion_tokens += len(delta.token_ids)
        if delta.finish_reason is None:
            if self.said is not None:
                self.said[0].append(delta.text)
            self._show(delta.text)
            return
        self._keep(delta)
        self._clock.note(delta)
        self._show(delta.text)
        self._say(self.whole((Delta(0, ""),)), last=True)
        self._end()

    def whole(self, choices: Sequence[Delta]) -> dict[str, Any]:
        return self._describe(choices[0].text, self._clock.counted(self.first_at, self.completion_tokens))

    def plainly_assembled(self, text: str, last: Delta) -> bytes:
        return orjson.dumps(self.whole((Delta(0, text),)))

    def _show(self, text: str) -> None:
        if text and not self._silent:
            self._say(infill.piece(text))

    def _say(self, content: dict[str, Any], *, last: bool = False) -> None:
        self.outlet.write(b"data: %b\n\n" % orjson.dumps(content), last=last)


def _hole(wanted: infill.InfillRequest) -> Hole:
    context = ((piece.filename or "", piece.text) for piece in wanted.input_extra or ())
    return make_hole(wanted.input_prefix + (wanted.prompt or ""), wanted.input_suffix, context=context, stable=True)


def _max_tokens(preset: Preset | None, engine: Engine, n_predict: int | None) -> int:
    if n_predict is not None and n_predict < -2:  # -1 and -2: as much as there is
        raise BadRequestError(f"n_predict must be at least -1, got {n_predict}.", param="n_predict")
    return tokens(preset, engine, UNLIMITED_TOKENS if n_predict is not None and n_predict < 0 else n_predict)


def _deadline_s(request: Request, wanted: infill.InfillRequest) -> float:
    """Both budgets together, from the request's arrival on; n_predict 0 only warms the cache up."""
    predict_s = _seconds(wanted.t_max_predict_ms)
    if predict_s is None or wanted.n_predict == 0:
        return deadline_s(request, None)
    return deadline_s(request, (predict_s + (_seconds(wanted.t_max_prompt_ms) or predict_s)) * 1e3)


def _sampling(preset: Preset | None, wanted: infill.InfillRequest) -> dict[str, Any]:
    sampling = {"temperature": temperature(preset, wanted.temperature)}
    if sampling["temperature"]:  # the most likely token needs none of these
        for name, field in _SAMPLING.items():
            value = getattr(wanted, name)
            if value is not None:
                sampling[field] = value
        if wanted.seed is not None and wanted.seed >= 0:
            sampling["seed"] = wanted.seed
    return sampling


def _seconds(milliseconds: float | None) -> float | None:
    """None where there is no limit."""
    return milliseconds / 1e3 if milliseconds is not None and milliseconds > 0 else None
