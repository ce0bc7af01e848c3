"""The chats of one replica: answers that are made here, sockets that follow, what other replicas tell."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from typing import Any
from uuid import UUID, uuid4

from kodify.chats.answer import Answer
from kodify.chats.follower import Closing, Follower, Item, Said
from kodify.chats.mirror import Mirror
from kodify.chats.store import Store, Told
from kodify.chats.stream import Stream
from kodify.db.chats import MOST_BYTES
from kodify.db.chats_tables import ChatsTables
from kodify.db.database import Database
from kodify.errors import STOPPING, KodifyError, TooManyRequestsError, UnavailableError

log = logging.getLogger(__name__)

GONE = Closing(4404, "The chat is gone.")
RESTART = Closing(1012, STOPPING)
MISSED = Closing(1012, "Something may have been missed: please connect again.")
MOST_FOLLOWERS = 32  # of one chat, on one replica
RETRY_AFTER_S = 5
PATIENCE_S = 5.0  # at the end, for the last answers to be written down


class Chats:
    def __init__(self, database: Database, tables: ChatsTables, *, migrate: bool, hours: float, is_there: Any) -> None:
        heard = self._hear, self._missed
        self.store = Store(database, tables, *heard, migrate=migrate, hours=hours, is_there=is_there)
        self.replica = uuid4().hex
        self.most_bytes = MOST_BYTES
        self.answers: dict[UUID, Answer] = {}  # by chat
        self._followers: dict[UUID, set[Follower]] = {}
        self._mirrors: dict[UUID, Mirror] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    @property
    def label(self) -> str:
        return self.store.label

    async def start(self) -> None:
        await self.store.start()

    def drain(self) -> None:
        """Sockets close, those of a chat in which an answer is being made when it has ended."""
        self._draining = True
        for chat_id in list(self._followers):
            self.publish(chat_id, RESTART)

    async def stop(self) -> None:
        self.drain()
        for answer in list(self.answers.values()):
            answer.cut(UnavailableError(STOPPING))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE_S)
        for task in [*self._tasks, *(mirror.task for mirror in self._mirrors.values() if mirror.task is not None)]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.stop()

    def make(self, answer: Answer, said: Said, making: Coroutine[Any, Any, None]) -> None:
        """`making` runs until the answer has ended and is written down, whoever listens."""
        self.answers[answer.chat_id] = answer
        self.publish(answer.chat_id, said, answer)
        # Not in the context of the request that asks: it ends before.
        task = asyncio.create_task(self._made(answer, making), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _made(self, answer: Answer, making: Coroutine[Any, Any, None]) -> None:
        try:
            await making
        except Exception:
            log.exception("an answer could not be made")
        finally:
            if self.answers.get(answer.chat_id) is answer:
                del self.answers[answer.chat_id]
            answer.end(None)  # where it has no end yet

    # sockets

    def follow(self, chat_id: UUID) -> Follower:
        """Raises TooManyRequestsError: each socket has its own share of the work."""
        followers = self._followers.setdefault(chat_id, set())
        if len(followers) >= MOST_FOLLOWERS:
            raise TooManyRequestsError("Too many sockets follow this chat.", retry_after_s=RETRY_AFTER_S)
        follower = Follower()
        followers.add(follower)
        if self._draining:
            follower.put(RESTART)
        return follower

    def leave(self, chat_id: UUID, follower: Follower) -> None:
        followers = self._followers.get(chat_id, set())
        followers.discard(follower)
        if followers:
            return
        self._followers.pop(chat_id, None)
        mirror = self._mirrors.pop(chat_id, None)
        if mirror is not None and mirror.task is not None:
            mirror.task.cancel()

    def publish(self, chat_id: UUID, *items: Item) -> None:
        for follower in list(self._followers.get(chat_id, ())):
            for item in items:
                follower.put(item)

    def gone(self, chat_id: UUID) -> None:
        """The chat is deleted, or has expired."""
        if (answer := self.answers.get(chat_id)) is not None:
            answer.stop()
        self.publish(chat_id, GONE)

    async def running(self, chat_id: UUID) -> Stream | None:
        """The answer that is being made in a chat, wherever."""
        if (answer := self.answers.get(chat_id)) is not None:
            return answer
        if (mirror := self._mirrors.get(chat_id)) is not None and mirror.ending is None:
            return mirror
        async with self.store.queries() as queries:
            message = await queries.find_answering(chat_id)
            question = None if message is None else await queries.find_last(chat_id, before=message.position)
        return None if message is None else self._mirror(message, question.id if question is not None else message.id)

    def _mirror(self, message: Any, question_id: UUID) -> Stream:
        """One for all sockets here."""
        if (answer := self.answers.get(message.chat_id)) is not None:
            return answer
        known = self._mirrors.get(message.chat_id)
        if known is not None and known.id == message.id:
            return known
        if known is not None and known.task is not None:
            known.task.cancel()
        mirror = self._mirrors[message.chat_id] = Mirror(self.store, message, question_id)
        mirror.task = asyncio.create_task(mirror.run())
        return mirror

    # other replicas

    def _missed(self) -> None:
        """Who comes back gets what is missing."""
        for chat_id in list(self._followers):
            self.publish(chat_id, MISSED)

    def _hear(self, told: Told) -> None:
        chat_id, kind = UUID(told["chat"]), told["kind"]
        if kind == "stop":
            if (answer := self.answers.get(chat_id)) is not None:
                answer.stop()
        elif kind == "gone":
            self.gone(chat_id)
        elif kind in ("progress", "end"):
            if (mirror := self._mirrors.get(chat_id)) is not None:
                mirror.poke()
        elif kind == "begin" and told["replica"] != self.replica and chat_id in self._followers:
            task = asyncio.create_task(self._begun_elsewhere(chat_id, told))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _begun_elsewhere(self, chat_id: UUID, told: Told) -> None:
        try:
            async with self.store.queries() as queries:
                question = await queries.find_message(chat_id, UUID(told["message"]))
                message = await queries.find_message(chat_id, UUID(told["answer"]))
        except KodifyError as error:
            return log.warning("a chat's socket misses what was said elsewhere: %s", error.message)
        if question is not None and message is not None and chat_id in self._followers:
            said = Said(str(question.id), question.content, told.get("from"), question.action)
            self.publish(chat_id, said, self._mirror(message, question.id))
