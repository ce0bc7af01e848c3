"""The tables of chats. Their names are a setting, so the classes are made for a name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Index, Integer, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from kodify.db.schema import Schema

_NOW = text("now()")


class ChatFields(SQLModel):
    """A conversation of one owner, until it expires. `settings`: how its answers are made."""

    id: UUID
    owner: str
    title: str
    settings: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime


class ChatMessageFields(SQLModel):
    """What was said in a chat, in the order of `position`. `beat_at`: when the replica that makes an answer was last
    known to be at it; `stop_asked`: it should end."""

    id: UUID
    chat_id: UUID
    position: int
    role: str
    content: str
    status: str
    error: str | None
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    action: dict[str, Any] | None
    diff: str | None
    sources: list[dict[str, Any]] | None
    stop_asked: bool
    created_at: datetime
    beat_at: datetime


@dataclass(frozen=True, kw_only=True)
class ChatsTables(Schema):
    chat: type[ChatFields]
    message: type[ChatMessageFields]


@cache
def chats_tables(qualified_name: str) -> ChatsTables:
    """The classes for `name` or `schema.name`; one set for each name."""
    schema, _, name = qualified_name.rpartition(".")
    mapped = registry()
    place = {"schema": schema or None}
    own = f"{schema}." if schema else ""

    class Base(SQLModel, registry=mapped):
        pass

    class Chat(ChatFields, Base, table=True):
        __tablename__ = name
        __table_args__ = (Index(f"ix_{name}_owner_updated_at", "owner", "updated_at"), place)
        id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
        owner: str = Field(sa_column=Column(Text, nullable=False))
        title: str = Field(sa_column=Column(Text, nullable=False))
        settings: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
        created_at: datetime = Field(default=None, sa_column=_moment(server_default=_NOW))
        updated_at: datetime = Field(default=None, sa_column=_moment(server_default=_NOW))
        expires_at: datetime = Field(sa_column=_moment(index=True))

    class ChatMessage(ChatMessageFields, Base, table=True):
        __tablename__ = f"{name}_messages"
        __table_args__ = (
            Index(f"ix_{name}_messages_chat_id_position", "chat_id", "position"),
            Index(
                f"ix_{name}_messages_generating",
                "chat_id",
                unique=True,
                postgresql_where=text("status = 'generating'"),
            ),
            place,
        )
        id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
        chat_id: UUID = Field(sa_column=Column(Uuid, ForeignKey(f"{own}{name}.id", ondelete="CASCADE"), nullable=False))
        position: int = Field(sa_column=Column(Integer, nullable=False))
        role: str = Field(sa_column=Column(Text, nullable=False))
        content: str = Field(sa_column=Column(Text, nullable=False))
        status: str = Field(sa_column=Column(Text, nullable=False))
        error: str | None = Field(default=None, sa_column=Column(Text))
        model: str | None = Field(default=None, sa_column=Column(Text))
        prompt_tokens: int | None = Field(default=None, sa_column=Column(Integer))
        completion_tokens: int | None = Field(default=None, sa_column=Column(Integer))
        finish_reason: str | None = Field(default=None, sa_column=Column(Text))
        action: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
        diff: str | None = Field(default=None, sa_column=Column(Text))
        sources: list[dict[str, Any]] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
        stop_asked: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false")))
        created_at: datetime = Field(default=None, sa_column=_moment(server_default=_NOW))
        beat_at: datetime = Field(default=None, sa_column=_moment(server_default=_NOW))

    return ChatsTables(
        metadata=mapped.metadata,
        schema=schema or None,
        name=name,
        version_table=f"{name}_version",
        scripts="chats",
        setting="CHATS_TABLE",
        made_at_first_start=True,
        chat=Chat,
        message=ChatMessage,
    )


def _moment(**options: Any) -> Column[datetime]:
    return Column(DateTime(timezone=True), nullable=False, **options)
