"""What a model is given of a chat: the system's words, and as much of what was said as its context has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from kodify.chats.levels import LEVELS
from kodify.engine.base import Engine, Job
from kodify.errors import BadRequestError

MESSAGE_TOKENS = 16  # what a chat template adds to each message, at most
ANSWER_TOKENS, ANSWER_SHARE = 1024, 4  # kept for the answer, where nobody says how long it may be: or a share
TRIES = 6

Said = dict[str, Any]  # role and content
SAMPLING = ("temperature", "top_p", "max_tokens")


async def make_job(
    engine: Engine, model: str | None, settings: dict[str, Any], said: Sequence[Said], job_id: str
) -> Job:
    """The oldest is left out first, the last never. Raises BadRequestError where even that does not fit."""
    head = system_of(settings)
    context = engine.facts.context_tokens
    own = {name: settings[name] for name in SAMPLING if settings.get(name) is not None}
    kept = list(said)
    if context:
        kept = await _fitted(engine, head, kept, room_of(context, own.get("max_tokens")))
    for left in range(TRIES, -1, -1):
        body = {"model": model or engine.facts.names[0], "messages": [*head, *kept], "stream": True, **own}
        try:
            return await engine.chat_job(engine.parse_chat(body), job_id)
        except BadRequestError:  # the model's template may take more than was thought
            if not left or len(kept) < 2:
                raise
            kept = beginning_with_user(kept[max(1, len(kept) // 2) :])
    raise AssertionError("unreachable")


def room_of(context: int, answer_tokens: int | None) -> int:
    """Tokens of a context that the prompt may have, beside an answer of so many or of the usual length."""
    most = answer_tokens or min(ANSWER_TOKENS, max(1, context // ANSWER_SHARE))
    return context - min(most, context - 1)


def system_of(settings: dict[str, Any]) -> list[Said]:
    texts = (LEVELS.get(settings.get("level") or ""), settings.get("system"))
    text = "\n\n".join(part for part in texts if part)
    return [{"role": "system", "content": text}] if text else []


async def _fitted(engine: Engine, head: Sequence[Said], said: list[Said], room: int) -> list[Said]:
    characters = sum(len(one["content"]) for one in said)
    all_bytes = sum(len(one["content"].encode("utf-8", "replace")) + MESSAGE_TOKENS for one in (*head, *said))
    if all_bytes <= room:  # no token is shorter than a byte
        return said
    vocabulary = engine.vocabulary

    def count(text: str) -> int:
        return len(vocabulary.encode_plain(text))

    if characters <= vocabulary.quick_characters:
        return fit(head, said, room, count)
    return await asyncio.to_thread(fit, head, said, room, count)


def fit(head: Sequence[Said], said: list[Said], room: int, count: Callable[[str], int]) -> list[Said]:
    """As many of the last as the room has, beginning with a user's. Raises BadRequestError."""
    left = room - sum(count(one["content"]) + MESSAGE_TOKENS for one in head)
    kept: list[Said] = []
    for one in reversed(said):
        if len(one["content"]) > 8 * room:  # no text has so few tokens: counting them would only take time
            break
        left -= count(one["content"]) + MESSAGE_TOKENS
        if left < 0:
            break
        kept.append(one)
    if not kept:
        raise BadRequestError(
            f"The message does not fit the model's context: there is room for about {max(room, 0)} tokens.",
            param="message",
        )
    return beginning_with_user(kept[::-1])


def beginning_with_user(said: list[Said]) -> list[Said]:
    while len(said) > 1 and said[0]["role"] != "user":
        said = said[1:]
    return said
