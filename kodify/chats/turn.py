"""Whose turn it is: what a user's message makes of a chat, before anything is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from kodify.chats.prompt import Said as PromptMessage
from kodify.db.chats import GENERATING, ChatQueries, answering
from kodify.errors import BadRequestError, ConflictError, NotFoundError

LONGEST_TITLE = 80


@dataclass(frozen=True)
class Turn:
    """`dropped_from`: the message that goes, with all that follows it. `is_new`: the question isn't in the chat yet."""

    question: str
    action: dict[str, Any] | None
    before: list[PromptMessage]
    position: int  # of the question
    question_id: UUID
    is_new: bool
    dropped_from: UUID | None
    last_id: UUID | None  # what was said last when the turn was taken
    answer_id: UUID = field(default_factory=uuid4)

    @property
    def said(self) -> list[PromptMessage]:
        return merged([*self.before, {"role": "user", "content": self.question}])

    @property
    def title(self) -> str:
        """For a chat that has none."""
        line = next((line.strip() for line in self.question.splitlines() if line.strip(" `#*>-")), "")
        return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1] + "…"

    async def write(
        self,
        queries: ChatQueries,
        chat_id: UUID,
        owner: str,
        hours: float,
        replica: str,
        sources: list[dict[str, Any]] | None = None,
    ) -> None:
        """Raises NotFoundError, or ConflictError where something was said meanwhile."""
        chat = await queries.find_chat(chat_id, owner, for_update=True)
        if chat is None:
            raise gone()
        last = await queries.find_last(chat_id)
        if last is not None and last.status == GENERATING:
            raise answering()
        if (last.id if last is not None else None) != self.last_id:
            raise ConflictError("Something else was said in this chat meanwhile.")
        await queries.delete_messages_from(chat_id, self.position if self.is_new else self.position + 1)
        question = {
            "id": self.question_id,
            "position": self.position,
            "role": "user",
            "content": self.question,
            "status": "done",
            "action": self.action,
        }
        answer = {
            "id": self.answer_id,
            "position": self.position + 1,
            "role": "assistant",
            "content": "",
            "status": GENERATING,
            "sources": sources,
        }
        await queries.insert_messages(chat, [question, answer] if self.is_new else [answer], hours)
        if not chat.title:
            await queries.update_chat(chat_id, owner, self.title, None)
        told = {"message": str(self.question_id), "answer": str(self.answer_id), "replica": replica}
        if self.dropped_from is not None:
            told["from"] = str(self.dropped_from)
        await queries.notify({"kind": "begin", "chat": str(chat_id), **told})


def take_turn(
    messages: Sequence[Any], text: str, action: dict[str, Any] | None, *, edit: str | None, regenerate: bool
) -> Turn:
    """`messages`: all of the chat. Raises BadRequestError, NotFoundError, or ConflictError while an answer is being
    made."""
    if any(message.status == GENERATING for message in messages):
        raise answering()
    last_id = messages[-1].id if messages else None
    if regenerate:
        question = next((message for message in reversed(messages) if message.role == "user"), None)
        if question is None:
            raise BadRequestError("There is no answer to make anew.", param="regenerate")
        after = next((message for message in messages if message.position > question.position), None)
        before = [message for message in messages if message.position < question.position]
        dropped = after.id if after is not None else None
        return Turn(
            question.content, question.action, shown(before), question.position, question.id, False, dropped, last_id
        )
    if not text.strip() and action is None:
        raise BadRequestError("message is empty.", param="message")
    dropped = None
    if edit is not None:
        edited = next((one for one in messages if str(one.id) == edit and one.role == "user"), None)
        if edited is None:
            raise NotFoundError("There is no such message of yours in this chat.", param="edit")
        messages = [one for one in messages if one.position < edited.position]
        dropped, position = edited.id, edited.position
    else:
        position = messages[-1].position + 1 if messages else 0
    return Turn(text, action, shown(messages), position, uuid4(), True, dropped, last_id)


def shown(messages: Sequence[Any]) -> list[PromptMessage]:
    """As a model sees them."""
    return [{"role": one.role, "content": one.content} for one in messages if one.content]


def merged(said: Sequence[PromptMessage]) -> list[PromptMessage]:
    """A question that had no answer is one with the next: chat templates want turns."""
    found: list[PromptMessage] = []
    for one in said:
        if found and found[-1]["role"] == one["role"]:
            found[-1] = {**one, "content": f"{found[-1]['content']}\n\n{one['content']}"}
        else:
            found.append(one)
    return found


def gone() -> NotFoundError:
    """Also of a chat that is another's: nobody learns what there is."""
    return NotFoundError("There is no such chat, or it has expired.")
