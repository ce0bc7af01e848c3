"""The queries about chats and what was said in them: a function each. Every change tells the other replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Text, cast, delete, exists, func, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from kodify.db.chats_tables import ChatFields, ChatMessageFields, ChatsTables
from kodify.errors import ConflictError

GENERATING = "generating"
MOST_LISTED = 500
MOST_OF_ONE = 1000  # chats
MOST_BYTES = 16 * 1024 * 1024  # said in one chat: each message makes the server read all of them


@dataclass(frozen=True, slots=True)
class Listed:
    chat: ChatFields
    running: bool


class ChatQueries:
    """An owner's chats, and nobody's, whose ids are known to who made them; what has expired is not there."""

    def __init__(self, session: AsyncSession, tables: ChatsTables) -> None:
        self._session = session
        self._chat, self._message = tables.chat, tables.message
        self._channel = tables.channel

    async def insert_chat(self, chat_id: UUID, owner: str, title: str, settings: dict[str, Any], hours: float) -> None:
        """Raises ConflictError where the owner has too many."""
        if owner:
            count = select(func.count()).select_from(self._chat).where(col(self._chat.owner) == owner)
            if (await self._session.exec(count)).one() >= MOST_OF_ONE:
                raise ConflictError(f"There are {MOST_OF_ONE} chats already: delete some of them.")
        fields: dict[str, Any] = {"id": chat_id, "owner": owner, "title": title, "settings": settings}
        fields["expires_at"] = func.now() + timedelta(hours=hours)
        self._session.add(self._chat(**fields))
        await self._session.flush()

    async def find_chat(self, chat_id: UUID, owner: str, *, for_update: bool = False) -> ChatFields | None:
        wanted = select(self._chat).where(*self._is_own(chat_id, owner))
        if for_update:
            wanted = wanted.with_for_update()
        return (await self._session.exec(wanted)).first()

    async def list_chats(self, owner: str) -> Sequence[Listed]:
        """The latest first."""
        chat, message = self._chat, self._message
        running = exists().where(col(message.chat_id) == col(chat.id), col(message.status) == GENERATING)
        rows = await self._session.exec(
            select(chat, running)
            .where(col(chat.owner) == owner, col(chat.expires_at) > func.now())
            .order_by(col(chat.updated_at).desc())
            .limit(MOST_LISTED)
        )
        return [Listed(found, is_running) for found, is_running in rows]

    async def list_messages(self, chat_id: UUID, owner: str, *, last: int | None = None) -> Sequence[ChatMessageFields]:
        """In the order in which they were said; the last so many, or all."""
        message = self._message
        own = select(self._chat.id).where(*self._is_own(chat_id, owner))
        wanted = select(message).where(col(message.chat_id).in_(own)).order_by(col(message.position).desc()).limit(last)
        return (await self._session.exec(wanted)).all()[::-1]

    async def measure(self, chat_id: UUID) -> int:
        """How many bytes were said in a chat, code that actions were done to and sources included."""
        message = self._message
        more = [func.coalesce(func.octet_length(cast(one, Text)), 0) for one in (message.action, message.sources)]
        size = func.sum(func.octet_length(col(message.content)) + more[0] + more[1])
        found = (await self._session.exec(select(size).where(col(message.chat_id) == chat_id))).one()
        return int(found or 0)

    async def update_chat(
        self, chat_id: UUID, owner: str, title: str | None, settings: dict[str, Any] | None
    ) -> ChatFields | None:
        chat = await self.find_chat(chat_id, owner, for_update=True)
        if chat is not None:
            chat.title = chat.title if title is None else title
            if settings is not None:
                chat.settings = {**chat.settings, **settings}
            self._session.add(chat)
            await self._session.flush()
        return chat

    async def delete_chat(self, chat_id: UUID, owner: str) -> bool:
        done = await self._session.exec(delete(self._chat).where(*self._is_own(chat_id, owner)))
        if done.rowcount:
            await self.notify({"kind": "gone", "chat": str(chat_id)})
        return bool(done.rowcount)

    async def delete_expired(self) -> Sequence[UUID]:
        gone = (
            await self._session.exec(
                delete(self._chat).where(col(self._chat.expires_at) <= func.now()).returning(col(self._chat.id))
            )
        ).all()
        found = [row[0] for row in gone]
        for chat_id in found:
            await self.notify({"kind": "gone", "chat": str(chat_id)})
        return found

    async def delete_messages_from(self, chat_id: UUID, position: int) -> None:
        message = self._message
        await self._session.exec(
            delete(message).where(col(message.chat_id) == chat_id, col(message.position) >= position)
        )

    async def delete_messages_before(self, chat_id: UUID, position: int) -> None:
        message = self._message
        await self._session.exec(
            delete(message).where(col(message.chat_id) == chat_id, col(message.position) < position)
        )

    async def insert_messages(self, chat: ChatFields, rows: Sequence[dict[str, Any]], hours: float) -> None:
        """Raises ConflictError where an answer is being made in this chat."""
        for row in rows:
            self._session.add(self._message(chat_id=chat.id, **row))
        try:
            await self._session.flush()
        except IntegrityError:
            raise answering() from None
        await self._prolong(chat.id, hours)

    async def update_progress(self, answer_id: UUID, content: str) -> bool | None:
        """Whether the answer should end; None where it is no longer to be made."""
        message = self._message
        row = (
            await self._session.exec(
                update(message)
                .where(col(message.id) == answer_id, col(message.status) == GENERATING)
                .values(content=content, beat_at=func.now())
                .returning(col(message.stop_asked), col(message.chat_id))
            )
        ).first()
        if row is None:
            return None
        await self.notify({"kind": "progress", "chat": str(row[1]), "answer": str(answer_id)})
        return bool(row[0])

    async def update_answer(self, chat_id: UUID, answer_id: UUID, hours: float, **fields: Any) -> bool:
        """The answer has ended; False where it is no longer there, or was ended by another."""
        message = self._message
        done = await self._session.exec(
            update(message)
            .where(col(message.id) == answer_id, col(message.status) == GENERATING)
            .values(beat_at=func.now(), **fields)
        )
        if done.rowcount:
            await self._prolong(chat_id, hours)
            await self.notify({"kind": "end", "chat": str(chat_id), "answer": str(answer_id)})
        return bool(done.rowcount)

    async def find_message(self, chat_id: UUID, message_id: UUID) -> ChatMessageFields | None:
        message = self._message
        return (
            await self._session.exec(
                select(message).where(col(message.id) == message_id, col(message.chat_id) == chat_id)
            )
        ).first()

    async def find_last(self, chat_id: UUID, before: int | None = None) -> ChatMessageFields | None:
        """What was said last, or last before a position."""
        message = self._message
        wanted = select(message).where(col(message.chat_id) == chat_id).order_by(col(message.position).desc()).limit(1)
        if before is not None:
            wanted = wanted.where(col(message.position) < before)
        return (await self._session.exec(wanted)).first()

    async def find_answering(self, chat_id: UUID) -> ChatMessageFields | None:
        """The answer that is being made."""
        message = self._message
        return (
            await self._session.exec(
                select(message).where(col(message.chat_id) == chat_id, col(message.status) == GENERATING)
            )
        ).first()

    async def ask_stop(self, chat_id: UUID) -> bool:
        """Of the answer that is being made, wherever; whether there is one."""
        message = self._message
        done = await self._session.exec(
            update(message)
            .where(col(message.chat_id) == chat_id, col(message.status) == GENERATING)
            .values(stop_asked=True)
        )
        if done.rowcount:
            await self.notify({"kind": "stop", "chat": str(chat_id)})
        return bool(done.rowcount)

    async def fail_stale(self, older_than_s: float, error: str) -> int:
        """Of answers whose replica has said nothing for so long: it has died."""
        message = self._message
        rows = (
            await self._session.exec(
                update(message)
                .where(
                    col(message.status) == GENERATING,
                    col(message.beat_at) < func.now() - timedelta(seconds=older_than_s),
                )
                .values(status="error", error=error)
                .returning(col(message.id), col(message.chat_id))
            )
        ).all()
        for answer_id, chat_id in rows:
            await self.notify({"kind": "end", "chat": str(chat_id), "answer": str(answer_id)})
        return len(rows)

    async def lock_owner(self, owner: str) -> None:
        """Until the transaction ends nobody else has this owner's lock."""
        await self._session.exec(select(func.pg_advisory_xact_lock(func.hashtextextended(owner, 0))))

    async def notify(self, told: dict[str, Any]) -> None:
        """Ids only: a notification is short, and anybody who may connect can listen."""
        await self._session.exec(select(func.pg_notify(self._channel, orjson.dumps(told).decode())))

    def _is_own(self, chat_id: UUID, owner: str) -> tuple[Any, ...]:
        chat = self._chat
        return col(chat.id) == chat_id, col(chat.owner).in_({owner, ""}), col(chat.expires_at) > func.now()

    async def _prolong(self, chat_id: UUID, hours: float) -> None:
        chat = self._chat
        await self._session.exec(
            update(chat)
            .where(col(chat.id) == chat_id)
            .values(updated_at=func.now(), expires_at=func.now() + timedelta(hours=hours))
        )


def answering() -> ConflictError:
    return ConflictError("An answer is being made in this chat: wait for it, or stop it.")
