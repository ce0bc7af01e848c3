"""`/api/v1/chat…`: chats that are kept for a while. Their answers come by a socket, or in the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from kodify.api import session
from kodify.api.body import parse_json, read_json
from kodify.api.chat_sending import chat_id_of, clean, send
from kodify.api.middleware import ADDED_HEADERS
from kodify.api.models import who_asks
from kodify.api.record import record_of, take
from kodify.api.shapes import read
from kodify.chats import Chats
from kodify.chats.turn import gone
from kodify.journal import Silent
from kodify.markdown import Scribe
from kodify.protocol import chats as shapes
from kodify.protocol.chats import ChatMessage, ChatSettings, MarkdownText, NewChat

Key = TypeVar("Key")


async def create(request: Request) -> Response:
    data = await request.body()
    found = read(parse_json(data) if data.strip() else {}, NewChat)
    kept = {name: value for name in ChatSettings.__struct_fields__ if (value := getattr(found, name)) is not None}
    kept = msgspec.to_builtins(kept)
    chats, chat_id = _chats(request), uuid4()
    async with chats.store.queries() as queries:
        title = clean((found.title or "").strip())
        await queries.insert_chat(chat_id, session.owner(request), title, clean(kept), chats.store.hours)
    return _answer({"chat_id": str(chat_id)})


async def show_all(request: Request) -> Response:
    owner, chats = session.owner(request), _chats(request)
    found: Any = ()
    if owner and await chats.store.may_have_any():
        async with chats.store.queries() as queries:
            found = await queries.list_chats(owner)
    return _answer({"data": [shapes.listed(one.chat, running=one.running) for one in found]})


async def show(request: Request) -> Response:
    chat_id, owner, chats = chat_id_of(request), session.owner(request), _chats(request)
    async with chats.store.queries() as queries:
        chat = await queries.find_chat(chat_id, owner)
        messages = await queries.list_messages(chat_id, owner) if chat is not None else ()
    if chat is None:
        raise gone()
    if (answer := chats.answers.get(chat_id)) is not None:
        for message in messages:
            if message.id == answer.id and message.status == "generating":
                message.content = answer.text
    html: dict[UUID, str] = {}
    if request.query_params.get("render") == "html":
        texts = {one.id: one.content for one in messages if one.role == "assistant" and one.status != "generating"}
        html = await rendered(request, texts)
    return _answer(shapes.history(chat, messages, html))


async def change(request: Request) -> Response:
    body = await read_json(request)
    found = read(body, NewChat)
    kept = msgspec.to_builtins({name: getattr(found, name) for name in ChatSettings.__struct_fields__ if name in body})
    title = clean(found.title.strip()) if found.title is not None else None
    async with _chats(request).store.queries() as queries:
        chat = await queries.update_chat(chat_id_of(request), session.owner(request), title, clean(kept))
    if chat is None:
        raise gone()
    return _answer({**shapes.listed(chat, running=False), "settings": shapes.all_settings(chat.settings)})


async def delete(request: Request) -> Response:
    chat_id, chats = chat_id_of(request), _chats(request)
    async with chats.store.queries() as queries:
        if not await queries.delete_chat(chat_id, session.owner(request)):
            raise gone()
    chats.gone(chat_id)
    return Response(status_code=204)


async def send_message(request: Request) -> Response:
    """The answer goes on when this has been answered, and so does the request's place in the journal."""
    record = record_of(request.scope)
    if record is not None and request.app.state.settings.chats_temporary:
        record.taker = Silent(record.taker)
    chat_id = chat_id_of(request)
    wanted = read(await read_json(request), ChatMessage)
    turn, headers = await send(request, chat_id, wanted, lambda: take(request.scope))
    request.scope["state"][ADDED_HEADERS] = headers
    return _answer({"message_id": str(turn.question_id), "answer_id": str(turn.answer_id)}, 202)


async def stop(request: Request) -> Response:
    """The answer that is being made ends as it is, on whichever replica."""
    return _answer({"stopping": await stop_answer(request, chat_id_of(request))}, 202)


async def stop_answer(connection: Any, chat_id: UUID) -> bool:
    """Whether there is one. Raises NotFoundError."""
    chats: Chats = connection.app.state.chats
    async with chats.store.queries() as queries:
        if await queries.find_chat(chat_id, session.owner(connection)) is None:
            raise gone()
        asked = await queries.ask_stop(chat_id)
    if (answer := chats.answers.get(chat_id)) is not None:
        answer.stop()
    return asked


async def render(request: Request) -> Response:
    """Markdown as HTML that is safe to show."""
    text = read(await read_json(request), MarkdownText).markdown
    return _answer({"html": (await rendered(request, {0: text}))[0]})


async def rendered(connection: HTTPConnection, texts: Mapping[Key, str]) -> dict[Key, str]:
    scribe: Scribe = connection.app.state.scribe
    return await scribe.render(session.owner(connection) or who_asks(connection), texts)


def _answer(told: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(told), status, {"cache-control": "no-store"}, "application/json")


def _chats(request: Request) -> Chats:
    found: Chats = request.app.state.chats
    return found
