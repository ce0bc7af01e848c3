"""`WS /api/v1/chat/{id}/ws`: a chat's events as they come, and what is said by the same way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import orjson
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from kodify.api import errors, session
from kodify.api.body import parse_json
from kodify.api.chat_sending import chat_id_of, send
from kodify.api.chats import rendered, stop_answer
from kodify.api.guard import bearer_token
from kodify.api.middleware import new_id
from kodify.api.shapes import read
from kodify.chats import Chats, Closing, Ending, Follower, Said, Stream, ending_of, units_of
from kodify.chats.turn import gone
from kodify.errors import BadRequestError, KodifyError, UnauthorizedError
from kodify.journal import Journal, Record, Silent
from kodify.markdown import QUICK_CHARACTERS, Settling
from kodify.protocol.chats import ChatMessage, event

KIND = "POST /api/v1/chat/{chat_id}/send_message"  # in the journal, as by the other door
STILL_WHO_EVERY_S = 30.0
UNAUTHORIZED, RESTART = 4401, 1012


async def follow(socket: WebSocket) -> None:
    chats: Chats = socket.app.state.chats
    try:
        chat_id = chat_id_of(socket)
        async with chats.store.queries() as queries:
            if await queries.find_chat(chat_id, session.owner(socket)) is None:
                raise gone()
        after = _after(socket)
        follower = chats.follow(chat_id)
    except KodifyError as error:
        return await socket.send_denial_response(errors.response(error))
    tasks: list[asyncio.Task[None]] = []
    try:
        await socket.accept()
        teller = _Teller(socket, chats, chat_id, follower)
        work = [teller.run(after), _hear(socket, chat_id, teller), _watch(socket)]
        tasks = [asyncio.create_task(one) for one in work]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        chats.leave(chat_id, follower)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for one in ended:
        if isinstance(one, Exception) and not isinstance(one, WebSocketDisconnect):
            raise one


@dataclass(frozen=True, slots=True)
class After:
    """How far a client that comes back has an answer. Characters are UTF-16's, as browsers count them; `settled` is
    None where it does not say how much of it stands there as HTML."""

    answer_id: UUID
    characters: int
    settled: int | None


class _Teller:
    def __init__(self, socket: WebSocket, chats: Chats, chat_id: UUID, follower: Follower) -> None:
        self._socket = socket
        self._chats = chats
        self._chat_id = chat_id
        self._follower = follower
        self._renders = socket.query_params.get("render") == "html"

    async def run(self, after: After | None) -> None:
        """Until the socket is to be closed."""
        await self._catch_up(after)
        while True:
            item = await self._follower.next()
            if isinstance(item, Closing):
                return await self._socket.close(item.code, item.reason)
            if isinstance(item, Stream):
                await self._stream(item, 0, 0)
            else:
                await self._said(item)

    async def tell(self, status: str, message: str, **fields: Any) -> None:
        await self._socket.send_text(orjson.dumps(event(status, message, **fields)).decode())

    async def _catch_up(self, after: After | None) -> None:
        running = await self._chats.running(self._chat_id)
        if running is not None:
            self._follower.seen.add(running.id)
            if after is None or after.answer_id != running.id:
                return await self._stream(running, 0, 0)
            await _reached(running, after.characters)
            text = running.text
            settled = None if after.settled is None else _place(text, min(after.settled, after.characters))
            return await self._stream(running, _place(text, after.characters), settled)
        if after is None:
            return
        async with self._chats.store.queries() as queries:
            message = await queries.find_message(self._chat_id, after.answer_id)
        if message is not None and message.role == "assistant":
            await self._ended(str(message.id), message.content, ending_of(message))

    async def _said(self, said: Said) -> None:
        more: dict[str, Any] = {} if said.from_id is None else {"from_id": said.from_id}
        if said.action is not None:
            more["action"] = said.action
        await self.tell("message", said.message, message_id=said.message_id, **more)

    async def _stream(self, stream: Stream, sent: int, settled: int | None) -> None:
        """To its end. `sent`, `settled`: so many characters are there already."""
        answer_id = str(stream.id)
        more = {} if stream.sources is None else {"sources": stream.sources}
        await self.tell("generating", "", answer_id=answer_id, message_id=str(stream.question_id), **more)
        offset = units_of(stream.text[:sent])
        settling: Settling | None = None
        if self._renders and settled is not None:
            settling = Settling(settled)
            settling.add(stream.text[settled:sent])
        shown, shown_units = settled or 0, units_of(stream.text[: settled or 0])
        while True:
            await stream.grown(sent)
            piece = stream.since(sent)
            if not piece:
                break
            sent += len(piece)
            fields: dict[str, Any] = {"answer_id": answer_id, "offset": offset}
            offset += units_of(piece)
            if settling is not None:
                settling.add(piece)
                if (ready := settling.ready) and (
                    found := settling.settle() if ready < QUICK_CHARACTERS else await asyncio.to_thread(settling.settle)
                ):
                    shown_units += units_of(stream.since(shown)[: found.end - shown])
                    shown = found.end
                    fields["settled"] = {"html": found.html, "end": shown_units}
            await self.tell("delta", piece, **fields)
        if stream.ending is None:  # nobody knows its end here: the client comes back, and asks
            return self._follower.put(Closing(RESTART, "Please connect again."))
        await self._ended(answer_id, stream.text, stream.ending)

    async def _ended(self, answer_id: str, text: str, ending: Ending) -> None:
        if ending.status == "error":
            return await self.tell("error", ending.error or "", answer_id=answer_id, **ending.fields)
        more = {**ending.fields, "answer_status": ending.status}
        if self._renders:
            more["html"] = (await rendered(self._socket, {0: text}))[0]
        await self.tell("generated", text, answer_id=answer_id, **more)


async def _hear(socket: WebSocket, chat_id: UUID, teller: _Teller) -> None:
    """Until the client leaves. What is wrong is told, and the socket goes on."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        try:
            await _obey(socket, chat_id, message.get("text"))
        except KodifyError as error:
            await teller.tell("error", errors.fields(error)["message"], code=error.status, type=error.type)


async def _obey(socket: WebSocket, chat_id: UUID, text: str | None) -> None:
    if text is None:
        raise BadRequestError("Only text is understood here.")
    data = text.encode()
    body = parse_json(data)
    if body.get("type") == "stop":
        await stop_answer(socket, chat_id)
        return
    if body.get("type") != "send":
        raise BadRequestError("type is neither send nor stop.", param="type")
    record = _record(socket, data)
    try:
        await send(socket, chat_id, read(body, ChatMessage), lambda: _taken(record))
    except Exception as error:
        if record is not None:
            known = errors.public(error)
            record.end(known.status, errors.body(known))
        raise


def _record(socket: WebSocket, data: bytes) -> Record | None:
    state = socket.app.state
    journal: Journal | None = state.journal
    if journal is None:
        return None
    address = socket.client.host if socket.client is not None else None
    record = journal.begin(KIND, address, new_id(), socket.scope["headers"])
    record.username, record.request = socket.state.principal.name, data
    if state.settings.chats_temporary:
        record.taker = Silent(record.taker)
    return record


def _taken(record: Record | None) -> Record | None:
    """An error after it has been handed over is not the record's."""
    if record is None:
        return None
    taken = msgspec.structs.replace(record)
    record.ended = True
    return taken


async def _watch(socket: HTTPConnection) -> None:
    """A token that works no longer ends its sockets."""
    assert isinstance(socket, WebSocket)
    while True:
        await asyncio.sleep(STILL_WHO_EVERY_S)
        try:
            await socket.app.state.auth.identify(bearer_token(socket.scope))
        except UnauthorizedError:
            return await socket.close(UNAUTHORIZED, "The token works no longer.")
        except KodifyError:
            pass  # the database is away


def _after(socket: WebSocket) -> After | None:
    """Of `after=<answer>:<characters>[:<settled>]`. Raises BadRequestError."""
    given = socket.query_params.get("after")
    if not given:
        return None
    answer, *numbers = given.split(":")
    with suppress(ValueError):
        if 1 <= len(numbers) <= 2 and all(number.isdecimal() and len(number) < 10 for number in numbers):
            settled = int(numbers[1]) if len(numbers) == 2 else None
            return After(UUID(answer), int(numbers[0]), settled)
    raise BadRequestError("after is not <answer_id>:<characters>.", param="after")


async def _reached(stream: Stream, units: int) -> None:
    """A replica that follows another is behind what that one's clients have."""
    while stream.ending is None and not stream.lost and stream.units < units:
        await stream.grown(stream.length)


def _place(text: str, units: int) -> int:
    """How many of our characters so many of a browser's are."""
    if text.isascii():
        return min(units, len(text))
    return len(text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore"))
