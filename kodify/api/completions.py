"""`POST /v1/completions`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kodify.api import tabby
from kodify.api.body import read_json
from kodify.api.completion_answer import CompletionStream, CompletionWhole, Wishes
from kodify.api.fill import BEFORE_CHATS, cutter, prompt_ids
from kodify.api.middleware import new_id
from kodify.api.models import find_engine, preset_of, refuse_if_full
from kodify.api.streaming import Encoder, respond
from kodify.autocomplete.trimming import Trimming
from kodify.engine.base import Engine, Job
from kodify.errors import BadRequestError
from kodify.preprocess import fim, ranges
from kodify.preprocess.hole import Hole, make_hole
from kodify.preprocess.presets import Preset


async def create(request: Request) -> Response:
    body = await read_json(request)
    if tabby.is_tabby(body):
        return await tabby.complete(request, body)
    engine = find_engine(request, body.get("model"))
    refuse_if_full(request, engine, is_quick=isinstance(body.get("suffix"), str))
    wanted = engine.parse_completion(body)
    max_n = request.app.state.settings.max_n
    ranges.check(wanted, max_n)
    keep = wanted.n or 1
    wanted.n = ranges.best_of(body, wanted, max_n)
    with_logprobs = wanted.logprobs is not None
    holes: list[Hole] = []
    deadline_s = None
    if wanted.suffix is not None:
        deadline_s = _deadline_s(body)
        holes = await _fill_in_the_middle(wanted, engine, preset_of(request, engine))
    if wanted.n > keep and not with_logprobs:
        wanted.logprobs = 0  # candidates are ranked by the logprob of their own tokens
    streams = bool(wanted.stream)
    trims = bool(holes) and wanted.logprobs is None
    if trims:
        wanted.stream = True  # the engine's text is looked at as it comes
    job = await engine.completion_job(wanted, f"cmpl-{new_id()}")
    wishes = _wishes(wanted, engine, job, keep=keep, with_logprobs=with_logprobs)
    encoder: Encoder = CompletionStream(job, wishes) if streams else CompletionWhole(job, wishes)
    if holes:
        job = replace(job, priority=BEFORE_CHATS)
    response = respond(request, engine, job, encoder)
    if trims:
        preset, each = preset_of(request, engine), job.choices
        response.narrowed = Trimming(
            response.answer,
            each * len(holes),
            lambda index: cutter(preset, holes[index // each]),
            streams=streams,
            deadline_s=deadline_s,
            crlf=[hole.crlf for hole in holes for _ in range(each)],
        )
    return response


def _wishes(wanted: Any, engine: Engine, job: Job, *, keep: int, with_logprobs: bool) -> Wishes:
    echo = bool(wanted.echo)
    options = wanted.stream_options
    truncated = getattr(wanted, "truncate_prompt_tokens", None) is not None
    return Wishes(
        keep=keep,
        echo=echo,
        echo_only=echo and wanted.max_tokens == 0,
        logprobs=with_logprobs,
        include_usage=bool(options and options.include_usage),
        echo_texts=tuple(
            p.text if p.text is not None and not truncated else engine.vocabulary.decode(p.token_ids)
            for p in job.prompts
            if echo
        ),
        first_tokens=tuple(engine.vocabulary.decode(p.token_ids[:1]) for p in job.prompts if echo and with_logprobs),
    )


def _deadline_s(body: dict[str, Any]) -> float | None:
    """Kodify's own field beside `suffix`: the answer is what is there by then."""
    value = body.get("deadline_ms")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise BadRequestError("deadline_ms must be a number of milliseconds above 0.", param="deadline_ms")
    return value / 1e3


async def _fill_in_the_middle(wanted: Any, engine: Engine, preset: Preset | None) -> list[Hole]:
    """Puts prefix and suffix into one prompt; the model's stops for it are added to the request's."""
    prompts = [wanted.prompt] if isinstance(wanted.prompt, str) else wanted.prompt or []
    if preset is None:
        raise BadRequestError(
            "suffix is not supported by this model: it has no fill-in-the-middle tokens.", param="suffix"
        )
    if wanted.echo:
        raise BadRequestError("echo is not supported with suffix.", param="suffix")
    if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise BadRequestError("suffix needs the prompt as text.", param="suffix")
    budget = engine.facts.context_tokens - (wanted.max_tokens or 16)
    holes = [make_hole(prompt, wanted.suffix) for prompt in prompts]
    wanted.prompt = [await prompt_ids(preset, engine, hole, budget) for hole in holes]
    wanted.suffix = None
    wanted.stop_token_ids = [*(wanted.stop_token_ids or ()), *fim.stop_ids(preset, engine.vocabulary)]
    return holes
