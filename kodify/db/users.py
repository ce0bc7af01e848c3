"""The queries about users, their tokens and the audit: a function each. Every change tells the other replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import delete, func, or_, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from kodify.db.tables import AuditFields, TokenFields, UserFields, UsersTables
from kodify.errors import ConflictError, UnauthorizedError


@dataclass(frozen=True, slots=True)
class Holder:
    """A token's user, as a request needs them."""

    token_id: int | None  # None for a token of another's making
    user_id: int
    email: str
    privileged: bool
    disabled: bool
    expires_on: date
    token_expires_at: datetime | None


class UserQueries:
    def __init__(self, session: AsyncSession, tables: UsersTables) -> None:
        self._session = session
        self._user, self._token, self._audit = tables.user, tables.token, tables.audit
        self._channel = tables.channel
        self.changed = False  # whether something that replicas know of users has

    async def holder(self, digest: bytes) -> Holder | None:
        user, token = self._user, self._token
        row = (
            await self._session.exec(
                select(token, user).where(col(token.digest) == digest, col(token.user_id) == col(user.id))
            )
        ).first()
        if row is None:
            return None
        found, owner = row
        return Holder(
            found.id, owner.id, owner.email, owner.privileged, owner.disabled, owner.expires_on, found.expires_at
        )

    async def by_email(self, email: str) -> UserFields | None:
        return (await self._session.exec(select(self._user).where(col(self._user.email) == email))).first()

    async def by_id(self, user_id: int) -> UserFields | None:
        return (await self._session.exec(select(self._user).where(col(self._user.id) == user_id))).first()

    async def by_subject(self, subject: str) -> UserFields | None:
        return (await self._session.exec(select(self._user).where(col(self._user.subject) == subject))).first()

    async def by_digest(self, digest: bytes) -> UserFields | None:
        own = select(self._token.user_id).where(col(self._token.digest) == digest)
        return (await self._session.exec(select(self._user).where(col(self._user.id).in_(own)))).first()

    async def page(self, after_id: int, size: int) -> Sequence[UserFields]:
        """In the order in which they were made."""
        user = self._user
        return (
            await self._session.exec(select(user).where(col(user.id) > after_id).order_by(col(user.id)).limit(size))
        ).all()

    async def search(self, text: str, after_id: int, size: int) -> tuple[Sequence[UserFields], int]:
        """Those whose e-mail has the text, in the order in which they were made; and how many there are of them."""
        user = self._user
        fits = col(user.email).icontains(text, autoescape=True)
        found = await self._session.exec(
            select(user).where(fits, col(user.id) > after_id).order_by(col(user.id)).limit(size)
        )
        count = await self._session.exec(select(func.count()).select_from(user).where(fits))
        return found.all(), count.one()

    async def add(self, **fields: Any) -> UserFields:
        """Raises ConflictError where the e-mail is taken."""
        user = self._user(**fields)
        self._session.add(user)
        try:
            await self._session.flush()
        except IntegrityError:
            raise ConflictError(f"There is a user with email {fields['email']} already.", param="email") from None
        await self._session.refresh(user)
        return user

    async def add_token(self, user_id: int, digest: bytes, prefix: str, expires_at: datetime | None) -> TokenFields:
        fields: dict[str, Any] = {"user_id": user_id, "digest": digest, "prefix": prefix, "expires_at": expires_at}
        token = self._token(**fields)
        self._session.add(token)
        try:
            await self._session.flush()
        except IntegrityError:  # the user has just been deleted
            raise UnauthorizedError() from None
        await self._session.refresh(token)
        return token

    async def tokens(self, user_id: int) -> Sequence[TokenFields]:
        """The newest first."""
        token = self._token
        return (
            await self._session.exec(select(token).where(col(token.user_id) == user_id).order_by(col(token.id).desc()))
        ).all()

    async def newest_prefixes(self, user_ids: Sequence[int]) -> dict[int, str]:
        """By user, of each one's newest token."""
        token = self._token
        rows = await self._session.exec(
            select(token.user_id, token.prefix)
            .where(col(token.user_id).in_(user_ids))
            .ext(distinct_on(col(token.user_id)))
            .order_by(col(token.user_id), col(token.id).desc())
        )
        return dict(rows.all())

    async def delete_token(self, user_id: int, token_id: int) -> bool:
        token = self._token
        done = await self._run(delete(token).where(col(token.id) == token_id, col(token.user_id) == user_id))
        return done == 1

    async def set_disabled(self, user_ids: Sequence[int], disabled: bool) -> None:
        await self._run(update(self._user).where(col(self._user.id).in_(user_ids)).values(disabled=disabled))

    async def remove(self, user_ids: Sequence[int]) -> int:
        return await self._run(delete(self._user).where(col(self._user.id).in_(user_ids)))

    async def expired(self, today: date) -> Sequence[UserFields]:
        """Not yet disabled."""
        user = self._user
        return (
            await self._session.exec(
                select(user).where(col(user.expires_on) < today, ~col(user.disabled)).order_by(col(user.id))
            )
        ).all()

    async def disabled(self) -> Sequence[UserFields]:
        user = self._user
        return (await self._session.exec(select(user).where(col(user.disabled)).order_by(col(user.id)))).all()

    async def administrators_left(self, without: Sequence[int], today: date) -> int:
        """How many could still administrate without these; the rows are locked until the transaction ends, so that
        two administrators can't remove each other at the same moment."""
        user = self._user
        rows = await self._session.exec(
            select(user.id)
            .where(col(user.privileged), ~col(user.disabled), col(user.expires_on) >= today)
            .with_for_update()
        )
        return len(set(rows.all()) - set(without))

    async def touch(self, token_ids: Sequence[int]) -> None:
        """Notes the last use."""
        token = self._token
        now = datetime.now(UTC)
        await self._session.exec(update(token).where(col(token.id).in_(token_ids)).values(last_used_at=now))

    async def note(self, actor: str, address: str | None, act: str, target: str, detail: str | None = None) -> None:
        fields: dict[str, Any] = {"actor": actor, "address": address, "act": act, "target": target, "detail": detail}
        self._session.add(self._audit(**fields))

    async def was_deleted(self, subject: str) -> bool:
        """Whether an administrator has deleted this user of a sign-on provider."""
        audit = self._audit
        found = select(audit.id).where(col(audit.act) == "delete", col(audit.detail) == subject).limit(1)
        return (await self._session.exec(found)).first() is not None

    async def acts(self, before_id: int | None, size: int, text: str = "") -> Sequence[AuditFields]:
        """The newest first; with a text, those that have it in who did what to whom."""
        audit = self._audit
        wanted = select(audit).order_by(col(audit.id).desc()).limit(size)
        if text:
            told = (audit.actor, audit.act, audit.target, audit.detail)
            wanted = wanted.where(or_(*(col(one).icontains(text, autoescape=True) for one in told)))
        if before_id is not None:
            wanted = wanted.where(col(audit.id) < before_id)
        return (await self._session.exec(wanted)).all()

    async def tell_replicas(self) -> None:
        """With the commit, every replica forgets what it knows of users."""
        self.changed = True
        await self._session.exec(text("SELECT pg_notify(:channel, '')").bindparams(channel=self._channel))  # type: ignore[call-overload]

    async def _run(self, statement: Any) -> int:
        result = await self._session.exec(statement)
        await self.tell_replicas()
        return int(result.rowcount)
