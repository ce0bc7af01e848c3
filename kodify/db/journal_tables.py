"""The tables of the journal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from kodify.db.schema import Schema

_mapped = registry()


class _Base(SQLModel, registry=_mapped):
    pass


class JournalConfig(_Base, table=True):
    """A configuration that Kodify was started with, secrets masked. The id is the digest's first 63 bits."""

    __tablename__ = "journal_configs"
    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    settings: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    first_seen_at: datetime = Field(
        default=None, sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("now()"))
    )


class JournalEntry(_Base, table=True):
    """An API request and its answer. Times are UTC; `user` is the client's address; a partition for each month."""

    __tablename__ = "journal"
    __table_args__ = (
        PrimaryKeyConstraint("request_dt", "id"),
        Index("ix_journal_username_request_dt", "username", "request_dt"),
        Index("ix_journal_request_id", "request_id"),
        Index("ix_journal_response_dt", "response_dt", postgresql_using="brin"),
        {"postgresql_partition_by": "RANGE (request_dt)"},
    )
    id: Any = Field(sa_column=Column(Uuid, nullable=False))
    user: str | None = Field(sa_column=Column(Text))
    username: str | None = Field(sa_column=Column(Text))
    type: str = Field(sa_column=Column(Text, nullable=False))
    request: Any = Field(sa_column=Column(JSON))
    request_dt: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    response: Any = Field(sa_column=Column(JSON))
    response_dt: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    status_code: int = Field(sa_column=Column(Integer, nullable=False))
    config_id: int = Field(sa_column=Column(BigInteger, ForeignKey("journal_configs.id"), nullable=False))
    request_id: str | None = Field(sa_column=Column(Text))
    model: str | None = Field(sa_column=Column(Text))
    prompt_tokens: int | None = Field(sa_column=Column(Integer))
    completion_tokens: int | None = Field(sa_column=Column(Integer))
    ttft_ms: float | None = Field(sa_column=Column(Double))
    duration_ms: float = Field(sa_column=Column(Double, nullable=False))
    finish_reason: str | None = Field(sa_column=Column(Text))
    cancelled: bool = Field(sa_column=Column(Boolean, nullable=False))


class CompletionView(_Base, table=True):
    """What became of a completion that an editor showed; `seen_at` is the moment of its first event."""

    __tablename__ = "completion_views"
    __table_args__ = (
        PrimaryKeyConstraint("completion_id", "choice_index", "view_id"),
        Index("ix_completion_views_seen_at", "seen_at"),
    )
    completion_id: str = Field(sa_column=Column(Text, nullable=False))
    choice_index: int = Field(sa_column=Column(Integer, nullable=False))
    view_id: str = Field(default="", sa_column=Column(Text, nullable=False, server_default=text("''")))
    username: str | None = Field(sa_column=Column(Text))
    language: str | None = Field(sa_column=Column(Text))
    model: str | None = Field(sa_column=Column(Text))
    shown_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    accepted_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    dismissed_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    elapsed_ms: int | None = Field(sa_column=Column(Integer))
    select_kind: str | None = Field(sa_column=Column(Text))
    characters: int | None = Field(sa_column=Column(Integer))
    lines: int | None = Field(sa_column=Column(Integer))
    seen_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


SCHEMA = Schema(
    metadata=_mapped.metadata,
    schema=None,
    name="journal",
    version_table="journal_version",
    scripts="journal",
    setting="LOGS_DB_NAME",
    made_at_first_start=False,
)
