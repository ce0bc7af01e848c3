"""`retrieval` in the body of a chat: what is found for its last question goes into the prompt, and into the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import HTTPConnection, Request

from kodify.api.collections import library_of, refuse_strangers
from kodify.api.shapes import read
from kodify.chats.prompt import MESSAGE_TOKENS, room_of
from kodify.engine.base import Engine, Vocabulary
from kodify.errors import BadRequestError
from kodify.protocol.retrieval import Retrieval
from kodify.retrieval.assembly import assemble
from kodify.retrieval.base import Passage, Where


async def ground(request: Request, body: dict[str, Any], engine: Engine) -> list[dict[str, Any]] | None:
    """The sources, None where none were asked for. Takes `retrieval` out of the body, and puts the passages before the
    last thing that the user says. Raises BadRequestError, NotFoundError."""
    given = body.pop("retrieval", None)
    if given is None:
        return None
    if not isinstance(given, dict):
        raise BadRequestError("retrieval must be an object with a collection.", param="retrieval")
    wanted = read(given, Retrieval)
    messages = body.get("messages")
    place = _last_question(messages)
    assert isinstance(messages, list)
    question = _text(messages[place]["content"])
    if not question.strip():
        raise BadRequestError("retrieval needs a question in the last message of the user.", param="messages")
    found = await find(request, wanted, question)
    beside = [_text(one.get("content")) for one in messages if isinstance(one, dict) and one is not messages[place]]
    answer = body.get("max_completion_tokens") or body.get("max_tokens")
    told, taken = await put_before(request, engine, question, found, beside, answer)
    body["messages"] = [*messages[:place], _with_text(messages[place], told), *messages[place + 1 :]]
    return [passage.source() for passage in taken]


async def find(request: HTTPConnection, wanted: Retrieval, question: str) -> list[Passage]:
    """Raises NotFoundError where there is no such collection for who asks."""
    refuse_strangers(request, wanted.collections)
    where = Where(wanted.path, wanted.language)
    return await library_of(request).search(
        wanted.collections, question, k=wanted.k, threshold=wanted.threshold, where=where
    )


async def put_before(
    request: HTTPConnection,
    engine: Engine,
    question: str,
    passages: Sequence[Passage],
    beside: Sequence[str],
    answer_tokens: Any,
) -> tuple[str, list[Passage]]:
    """Within the budget of passages, never more than half of the context, nor more than it has room for: what else is
    in the prompt, `beside` of the question, and the answer come first."""
    most = request.app.state.settings.file.retrieval.max_tokens
    context, vocabulary = engine.facts.context_tokens, engine.vocabulary
    answer = answer_tokens if isinstance(answer_tokens, int) and answer_tokens > 0 else None

    def assembled() -> tuple[str, list[Passage]]:
        budget = (
            min(most, context // 2, _left(room_of(context, answer), (*beside, question), vocabulary))
            if context
            else most
        )
        return assemble(question, passages, vocabulary, budget)

    return await asyncio.to_thread(assembled)


def _left(room: int, texts: Sequence[str], vocabulary: Vocabulary) -> int:
    """Of a room, beside these messages."""
    if sum(map(len, texts)) > 8 * room:  # no text has so few tokens: counting them would only take time
        return 0
    return room - sum(len(vocabulary.encode_plain(text)) + MESSAGE_TOKENS for text in texts)


def _last_question(messages: Any) -> int:
    if isinstance(messages, list):
        for place in range(len(messages) - 1, -1, -1):
            one = messages[place]
            if isinstance(one, dict) and one.get("role") == "user" and isinstance(one.get("content"), (str, list)):
                return place
    raise BadRequestError("retrieval needs a message of the user.", param="messages")


def _text(content: Any) -> str:
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str))


def _with_text(message: dict[str, Any], told: str) -> dict[str, Any]:
    """Parts that are no text stay behind it."""
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": told}
    rest = [part for part in content if not (isinstance(part, dict) and part.get("type") == "text")]
    return {**message, "content": [{"type": "text", "text": told}, *rest]}
