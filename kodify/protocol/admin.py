"""What the administrators' page sends, and asks for in addresses."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

EMAIL = r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+$"
MOST_DAYS = 36_500
Days = Annotated[int, msgspec.Meta(ge=0, le=MOST_DAYS)]


class NewUser(msgspec.Struct):
    """Without a password they sign in with a token, or at the provider of single sign-on."""

    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    days: Days  # how long they may use Kodify
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)] | None = None
    privileged: bool = False


class UserChange(msgspec.Struct):
    disabled: bool


class NewToken(msgspec.Struct):
    """`days`: how long it works; left out: TOKEN_DAYS."""

    days: Annotated[int, msgspec.Meta(ge=1, le=MOST_DAYS)] | None = None


class _Query(BaseModel):
    model_config = ConfigDict(extra="ignore")


class UsersQuery(_Query):
    search: str = Field("", max_length=254, description="A part of the e-mail.")
    after: int = Field(0, ge=0, lt=2**63, description="Only users made after the one of this id: `next` of a page.")
    limit: int = Field(50, ge=1, le=500)


class AuditQuery(_Query):
    search: str = Field("", max_length=254, description="A part of who, what, whom or the detail.")
    before: int | None = Field(
        None, ge=0, lt=2**63, description="Only acts before the one of this id: `next` of a page."
    )
    limit: int = Field(100, ge=1, le=1000)


class _Time(_Query):
    since: str = Field("7d", max_length=64, description="An age (30m, 12h, 7d, 4w) or a moment (2026-11-01T09:00).")
    until: str | None = Field(None, max_length=64, description="The same; left out: now.")


class UsageQuery(_Time):
    by: Literal["day", "user", "model", "route"] = "day"
    limit: int = Field(100, ge=1, le=1000, description="How many groups, the busiest; of days all are told.")


class AcceptanceQuery(_Time):
    by: Literal["day", "user", "model", "language"] = "day"
    limit: int = Field(100, ge=1, le=1000, description="How many groups, the most shown; of days all are told.")


class JournalQuery(_Time):
    user: str | None = Field(None, max_length=254, description="An e-mail, or a client's address.")
    route: str | None = Field(None, max_length=128, description="Such as /v1/completions.")
    model: str | None = Field(None, max_length=256)
    status: str | None = Field(None, pattern=r"^([1-5][0-9]{2}|[1-5]xx)$", description="Such as 429, or 5xx.")
    errors: bool = Field(False, description="Only those that were refused, failed or cancelled.")
    id: str | None = Field(None, max_length=256, description="An entry's id, or a part of a request's.")
    after: str | None = Field(None, max_length=100, description="`next` of a page: go on there.")
    limit: int = Field(50, ge=1, le=500)
