"""An action's request as a job of the engine."""

from __future__ import annotations

import asyncio
from typing import Any

from kodify.actions.action import Action
from kodify.actions.fitting import Fitted, fit
from kodify.actions.subject import Subject
from kodify.engine.base import Engine, Job
from kodify.errors import BadRequestError
from kodify.preprocess import ranges

_ANY = [{"role": "user", "content": "any"}]


async def make_job(
    engine: Engine, action: Action, subject: Subject, body: dict[str, Any], job_id: str, max_tokens: int | None = None
) -> Job:
    """`body`: a chat's, without its messages; what it says goes before what the action says. Raises BadRequestError
    where the context has no room."""
    asked = {} if max_tokens is None else {"max_tokens": max_tokens}
    ranges.check(engine.parse_chat({**body, **asked, "messages": _ANY}), 1)
    fitted = await _fitted_for(engine, action, subject, max_tokens)
    said = {**action.sampling, **body, "messages": fitted.messages}
    most, context = fitted.most_tokens, engine.facts.context_tokens
    if context:
        job = await engine.chat_job(engine.parse_chat(said), job_id)  # counts the prompt's tokens as the model has them
        most = min(most, context - (job.prompt_tokens or fitted.prompt_tokens))
    if most < 1:
        raise BadRequestError(f"The code does not fit the model's context of {context} tokens.", param="code")
    return await engine.chat_job(engine.parse_chat({**said, "max_tokens": most}), job_id)


async def _fitted_for(engine: Engine, action: Action, subject: Subject, max_tokens: int | None = None) -> Fitted:
    """Long code is tokenized in a thread."""
    vocabulary = engine.vocabulary

    def count(text: str) -> int:
        return len(vocabulary.encode_plain(text))

    arguments = (action, subject, count, engine.facts.context_tokens, max_tokens)
    if len(subject.code) <= vocabulary.quick_characters:
        return fit(*arguments)
    return await asyncio.to_thread(fit, *arguments)
