"""`POST /v1/completions`."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kodify.api.body import read_json
from kodify.api.completion_answer import CompletionStream, CompletionWhole, Wishes
from kodify.api.middleware import new_id
from kodify.api.models import find_engine
from kodify.api.streaming import Encoder, respond
from kodify.engine.base import Engine, Job
from kodify.errors import BadRequestError
from kodify.preprocess import fim, ranges


async def create(request: Request) -> Response:
    body = await read_json(request)
    engine = find_engine(request, body.get("model"))
    wanted = engine.parse_completion(body)
    max_n = request.app.state.settings.max_n
    ranges.check(wanted, max_n)
    keep = wanted.n or 1
    wanted.n = ranges.best_of(body, wanted, max_n)
    if wanted.suffix is not None:
        await _fill_in_the_middle(wanted, engine, request.app.state.preset)
    with_logprobs = wanted.logprobs is not None
    if wanted.n > keep and not with_logprobs:
        wanted.logprobs = 0  # candidates are ranked by the logprob of their own tokens
    job = await engine.completion_job(wanted, f"cmpl-{new_id()}")
    wishes = _wishes(wanted, engine, job, keep=keep, with_logprobs=with_logprobs)
    encoder: Encoder = CompletionStream(job, wishes) if wanted.stream else CompletionWhole(job, wishes)
    return respond(request, engine, job, encoder)


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


async def _fill_in_the_middle(wanted: Any, engine: Engine, preset: fim.Preset | None) -> None:
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
    vocabulary = engine.vocabulary
    if sum(map(len, prompts)) + len(wanted.suffix) * len(prompts) <= vocabulary.quick_characters:
        wanted.prompt = [fim.fill_in_the_middle(preset, vocabulary, p, wanted.suffix, budget) for p in prompts]
    else:
        wanted.prompt = [
            await asyncio.to_thread(fim.fill_in_the_middle, preset, vocabulary, p, wanted.suffix, budget)
            for p in prompts
        ]
    wanted.suffix = None
    wanted.stop_token_ids = [*(wanted.stop_token_ids or ()), *fim.stop_ids(preset, engine.vocabulary)]
