"""The tables of users. Their names are a setting, so the classes are made for a name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, ForeignKey, Identity, LargeBinary, Text, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from kodify.db.schema import Schema

_NOW = text("now()")
_NO = text("false")


class UserFields(SQLModel):
    """A person. `password_hash` is argon2id's; None for who signs in elsewhere, as `subject` (issuer and subject)."""

    id: int
    email: str
    password_hash: str | None
    subject: str | None
    expires_on: date  # the last day on which tokens work, UTC
    disabled: bool
    privileged: bool
    created_at: datetime


class TokenFields(SQLModel):
    """An access token: its SHA-256, and its start, by which people tell it from others."""

    id: int
    user_id: int
    digest: bytes
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class AuditFields(SQLModel):
    """An administrative act: who did what to whom, from where. Rows can only be added."""

    id: int
    at: datetime
    actor: str
    address: str | None
    act: str
    target: str
    detail: str | None


class CounterFields(SQLModel):
    """How much of a limit is used, until when."""

    key: str
    amount: int
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class UsersTables(Schema):
    user: type[UserFields]
    token: type[TokenFields]
    audit: type[AuditFields]
    counter: type[CounterFields]


@cache
def users_tables(qualified_name: str) -> UsersTables:
    """The classes for `name` or `schema.name`; one set for each name."""
    schema, _, name = qualified_name.rpartition(".")
    mapped = registry()
    place = {"schema": schema or None}
    own = f"{schema}." if schema else ""

    class Base(SQLModel, registry=mapped):
        pass

    class User(UserFields, Base, table=True):
        __tablename__ = name
        __table_args__ = place
        id: int = Field(default=None, sa_column=_key())
        email: str = Field(sa_column=Column(Text, nullable=False, unique=True))
        password_hash: str | None = Field(default=None, sa_column=Column(Text))
        subject: str | None = Field(default=None, sa_column=Column(Text, unique=True))
        disabled: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=_NO))
        privileged: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=_NO))
        created_at: datetime = Field(default=None, sa_column=_moment(server_default=_NOW, nullable=False))

    class Token(TokenFields, Base, table=True):
        __tablename__ = f"{name}_tokens"
        __table_args__ = place
        id: int = Field(default=None, sa_column=_key())
        user_id: int = Field(
            sa_column=Column(BigInteger, ForeignKey(f"{own}{name}.id", ondelete="CASCADE"), nullable=False, index=True)
        )
        digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
        prefix: str = Field(sa_column=Column(Text, nullable=False))
        created_at: datetime = Field(default=None, sa_column=_moment(server_default=_NOW, nullable=False))
        expires_at: datetime | None = Field(default=None, sa_column=_moment())
        last_used_at: datetime | None = Field(default=None, sa_column=_moment())

    class Audit(AuditFields, Base, table=True):
        __tablename__ = f"{name}_audit"
        __table_args__ = place
        id: int = Field(default=None, sa_column=_key())
        at: datetime = Field(default=None, sa_column=_moment(server_default=_NOW, nullable=False, index=True))
        actor: str = Field(sa_column=Column(Text, nullable=False))
        address: str | None = Field(default=None, sa_column=Column(Text))
        act: str = Field(sa_column=Column(Text, nullable=False))
        target: str = Field(sa_column=Column(Text, nullable=False))
        detail: str | None = Field(default=None, sa_column=Column(Text))

    class Counter(CounterFields, Base, table=True):
        __tablename__ = f"{name}_counters"
        __table_args__ = place
        key: str = Field(sa_column=Column(Text, primary_key=True))
        amount: int = Field(sa_column=Column(BigInteger, nullable=False))
        expires_at: datetime = Field(sa_column=_moment(nullable=False))

    return UsersTables(
        metadata=mapped.metadata,
        schema=schema or None,
        name=name,
        version_table=f"{name}_version",
        scripts="users",
        setting="USERS_TABLE",
        made_at_first_start=True,
        user=User,
        token=Token,
        audit=Audit,
        counter=Counter,
    )


def _key() -> Column[int]:
    return Column(BigInteger, Identity(), primary_key=True)


def _moment(**options: Any) -> Column[datetime]:
    return Column(DateTime(timezone=True), **options)
