"""`POST /process_message`: a course's question, answered from its collections as plain text, with the talk so far."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kodify.api.body import read_json
from kodify.api.collections import library_of, refuse_strangers
from kodify.api.grounding import put_before
from kodify.api.middleware import new_id
from kodify.api.models import find_engine, refuse_if_full
from kodify.api.outlet import Headers
from kodify.api.record import record_of
from kodify.api.shapes import read
from kodify.api.streaming import Encoder, GeneratedResponse
from kodify.auth import Principal
from kodify.chats import Chats
from kodify.chats.prompt import beginning_with_user, make_job
from kodify.chats.turn import merged
from kodify.config_file import CourseEntry, RetrievalEntry
from kodify.engine.base import Delta, Engine, Job
from kodify.errors import KodifyError, NotFoundError
from kodify.journal import Silent
from kodify.protocol.retrieval import ProcessMessage
from kodify.retrieval.base import Passage

log = logging.getLogger(__name__)

DEFAULT = "default"  # the course of those that config.yml does not name
MOST_HEADER_BYTES = 4096
PLAIN: Headers = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


async def create(request: Request) -> Response:
    record = record_of(request.scope)
    if record is not None and request.app.state.settings.chats_temporary:
        record.taker = Silent(record.taker)
    wanted = read(await read_json(request), ProcessMessage)
    engine = find_engine(request, None)
    refuse_if_full(request, engine)
    entry: RetrievalEntry = request.app.state.settings.file.retrieval
    course = _course(entry, wanted.course)
    system = course.system_prompt if course is not None and course.system_prompt is not None else entry.system_prompt
    question = wanted.message
    passages: list[Passage] = []
    if course is not None:
        refuse_strangers(request, course.collections)
        found = await library_of(request).search(course.collections, question)
        question, passages = await put_before(request, engine, question, found, [system], None)
    talk = Talk(request, wanted)
    before = await talk.so_far()
    said = beginning_with_user(merged([*before, {"role": "user", "content": question}]))
    job = await make_job(engine, None, {"system": system}, said, f"chatcmpl-{new_id()}")
    return TextAnswer(request, engine, job, TextStream(job, passages), talk)


def _course(entry: RetrievalEntry, name: str) -> CourseEntry | None:
    """None where there are no courses at all: then the model answers alone."""
    found = entry.courses.get(name) or entry.courses.get(DEFAULT)
    if found is None and entry.courses:
        raise NotFoundError(f"There is no course {name}.", param="course")
    return found


class TextStream(Encoder):
    """The text as it comes. What breaks off says so in its last line."""

    streams = True

    def __init__(self, job: Job, passages: Sequence[Passage]) -> None:
        super().__init__()
        self._job = job
        self._passages = passages
        self.parts: list[str] = []

    def emit(self, delta: Delta) -> None:
        if self.finished:
            return
        self._open()
        self.completion_tokens += len(delta.token_ids)
        self.parts.append(delta.text)
        if delta.finish_reason is None:
            if self.said is not None:
                self.said[0].append(delta.text)
            if delta.text:
                self.outlet.write(delta.text.encode("utf-8", "replace"))
            return
        self._keep(delta)
        self.outlet.write(delta.text.encode("utf-8", "replace"), last=True)
        self._end()

    def fail(self, error: Exception) -> None:
        if self.finished or not self.outlet.opened:
            return super().fail(error)
        self.outlet.write(f"\n[{self._failed(error).message}]".encode("utf-8", "replace"), last=True)
        self._end()

    def whole(self, choices: Sequence[Delta]) -> dict[str, Any]:
        text = choices[0].text if choices else ""
        return {"text": text, "sources": [passage.source() for passage in self._passages]}

    def plainly_assembled(self, text: str, last: Delta) -> bytes:
        return orjson.dumps(self.whole((Delta(0, text),)))

    def _open(self) -> None:
        if not self.outlet.opened:
            self.first_at = time.monotonic()
            self.outlet.open(200, (*PLAIN, (b"x-kodify-sources", _in_a_header(self._passages))))


def _in_a_header(passages: Sequence[Passage]) -> bytes:
    """As JSON in ASCII; as many as a header has room for."""
    sources = [passage.source() for passage in passages]
    while len(shown := json.dumps(sources).encode("ascii")) > MOST_HEADER_BYTES:
        sources.pop()
    return shown


class TextAnswer(GeneratedResponse):
    """What was said is kept when it has ended."""

    def __init__(self, request: Request, engine: Engine, job: Job, encoder: TextStream, talk: Talk) -> None:
        super().__init__(request, engine, job, encoder)
        self._talk = talk
        self._stream = encoder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        if not self.encoder.failed:
            await self._talk.keep("".join(self._stream.parts), is_whole=self.encoder.finished)


class Talk:
    """What one person has said in one course, in the tables of chats; `user_name` is the word of who asks."""

    def __init__(self, request: Request, wanted: ProcessMessage) -> None:
        principal: Principal = request.state.principal
        key = orjson.dumps([principal.user_id, wanted.user_name, wanted.course])
        self._owner = f"course:{hashlib.sha256(key).hexdigest()}"
        self._chats: Chats = request.app.state.chats
        entry: RetrievalEntry = request.app.state.settings.file.retrieval
        self._hours = entry.history_hours
        self._most = entry.history_messages
        self._question = _kept(wanted.message)
        self._title = _kept(f"{wanted.course} {wanted.user_name}".strip())

    async def so_far(self) -> list[dict[str, Any]]:
        """What the model is told of it."""
        if not self._most or not await self._chats.store.may_have_any():
            return []
        async with self._chats.store.queries() as queries:
            found = await queries.list_chats(self._owner)
            if not found:
                return []
            messages = await queries.list_messages(found[0].chat.id, self._owner, last=self._most)
        return [{"role": one.role, "content": one.content} for one in messages if one.content]

    async def keep(self, answer: str, *, is_whole: bool) -> None:
        """The answer has left already: that it can't be kept is for the log alone."""
        try:
            await self._write(_kept(answer), "done" if is_whole else "stopped")
        except KodifyError as error:
            log.warning("what was said in a course could not be kept: %s", error.message)

    async def _write(self, answer: str, status: str) -> None:
        async with self._chats.store.queries() as queries:
            await queries.lock_owner(self._owner)  # two answers at once belong to one talk
            found = await queries.list_chats(self._owner)
            chat_id = found[0].chat.id if found else uuid4()
            if not found:
                await queries.insert_chat(chat_id, self._owner, self._title, {}, self._hours)
            chat = await queries.find_chat(chat_id, self._owner, for_update=True)
            if chat is None:  # it has expired just now, and with it what was said
                return
            last = await queries.find_last(chat.id)
            position = 0 if last is None else last.position + 1
            rows = [
                {"id": uuid4(), "position": position, "role": "user", "content": self._question, "status": "done"},
                {"id": uuid4(), "position": position + 1, "role": "assistant", "content": answer, "status": status},
            ]
            await queries.insert_messages(chat, rows, self._hours)
            await queries.delete_messages_before(chat.id, position + len(rows) - max(self._most, len(rows)))


def _kept(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
