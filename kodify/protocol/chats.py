"""What clients of chats send and are told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kodify.protocol.retrieval import Retrieval

Level = Literal["beginner", "experienced", "professional"]
Title = Annotated[str, Meta(max_length=200)]
MOST_SYSTEM = 100_000


class ChatSettings(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How a chat's answers are made; null leaves it to the model, or to Kodify."""

    model: Annotated[str, Meta(max_length=256)] | None = None
    system: Annotated[str, Meta(max_length=MOST_SYSTEM)] | None = None
    level: Level | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    retrieval: Retrieval | None = None


class NewChat(ChatSettings, kw_only=True):
    title: Title | None = None


class Selection(msgspec.Struct):
    start_line: int
    end_line: int


class WantedAction(msgspec.Struct, kw_only=True):
    """One of `GET /v1/actions`, and what it is done to."""

    name: str
    code: str = ""
    language: str | None = None
    path: str | None = None
    selection: Selection | None = None
    instructions: str | None = None


class ChatMessage(msgspec.Struct, kw_only=True):
    """`edit`: the user's message that this replaces, with all that follows it. `regenerate`: the last answer anew."""

    message: str = ""
    edit: str | None = None
    regenerate: bool = False
    action: WantedAction | None = None


class MarkdownText(msgspec.Struct):
    markdown: str


def event(status: str, message: str, **fields: Any) -> dict[str, Any]:
    return {"status": status, "message": message, "timestamp": shown(datetime.now(UTC)), **fields}


def shown(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def listed(chat: Any, *, running: bool) -> dict[str, Any]:
    return {"chat_id": str(chat.id), "title": chat.title, **moments(chat), "running": running}


def moments(chat: Any) -> dict[str, str]:
    return {name: shown(getattr(chat, name)) for name in ("created_at", "updated_at", "expires_at")}


def all_settings(kept: dict[str, Any]) -> dict[str, Any]:
    return {name: kept.get(name) for name in ChatSettings.__struct_fields__}


def history(chat: Any, messages: Sequence[Any], html: dict[Any, str]) -> dict[str, Any]:
    """`html`: of answers, by message, where it is asked for."""
    return {
        "chat_id": str(chat.id),
        "title": chat.title,
        "settings": all_settings(chat.settings),
        **moments(chat),
        "messages": [_message(one, html) for one in messages],
    }


def _message(one: Any, html: dict[Any, str]) -> dict[str, Any]:
    told = {
        "id": str(one.id),
        "role": one.role,
        "content": one.content,
        "status": one.status,
        "error": one.error,
        "model": one.model,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "finish_reason": one.finish_reason,
        "created_at": shown(one.created_at),
    }
    if one.id in html:
        told["html"] = html[one.id]
    if one.action is not None:
        told["action"] = one.action
    if one.diff is not None:
        told["diff"] = one.diff
    if one.sources is not None:
        told["sources"] = one.sources
    return told
