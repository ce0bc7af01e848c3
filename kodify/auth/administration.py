"""What administrators do with users and tokens, and users with their own: by the API and by the command line alike.

Every act is written down in the same transaction as its effect, with who did it and from where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from kodify.auth import tokens
from kodify.auth.oidc import Identity
from kodify.auth.passwords import Passwords
from kodify.auth.users import UsersAuth
from kodify.db.tables import AuditFields, TokenFields, UserFields
from kodify.db.users import UserQueries
from kodify.errors import ConflictError, NotFoundError, UnauthorizedError


@dataclass(frozen=True)
class Actor:
    """Who acts: an administrator's e-mail, or who runs the command line."""

    name: str
    address: str | None = None


@dataclass(frozen=True)
class Listed:
    """A user, and the start of the newest token."""

    user: UserFields
    prefix: str | None

    @property
    def token(self) -> str | None:
        return None if self.prefix is None else tokens.masked(self.prefix)

    def line(self, verb: str, shown: str | None = None) -> str:
        """As the administrator's guide shows it."""
        name = self.user.email.partition("@")[0]
        return f"{verb} {name} {self.user.email} with token {shown or self.token or '(none)'}"


class Administration:
    def __init__(self, auth: UsersAuth, *, token_days: int) -> None:
        """`token_days`: how long a token made at a login works."""
        self._auth = auth
        self._token_days = token_days
        self._passwords = Passwords()

    async def create(
        self, actor: Actor, email: str, password: str | None, days: int, *, privileged: bool
    ) -> tuple[UserFields, str]:
        """The user and the one sight of their first token, which works as long as the user does."""
        email = normal(email)
        hashed = await self._passwords.hash(password) if password is not None else None
        token = tokens.make()
        async with self._auth.queries() as queries:
            user = await queries.add(
                email=email,
                password_hash=hashed,
                expires_on=_today() + timedelta(days=days),
                privileged=privileged,
            )
            await queries.add_token(user.id, tokens.digest(token), tokens.visible(token), None)
            detail = f"{'administrator, ' if privileged else ''}until {user.expires_on}"
            await _note(queries, actor, "create", email, detail)
        return user, token

    async def note(self, actor: Actor, act: str, target: str, detail: str | None = None) -> None:
        """What an administrator did that has its effect elsewhere."""
        async with self._auth.queries() as queries:
            await _note(queries, actor, act, target, detail)

    async def login(self, email: str, password: str) -> tuple[UserFields, str]:
        """A new token, for a user who knows the password. An unknown user takes as long as a wrong password."""
        async with self._auth.queries() as queries:
            user = await queries.by_email(normal(email))
        correct = await self._passwords.verify(password, user.password_hash if user is not None else None)
        if user is None or not correct or user.disabled or user.expires_on < _today():
            raise UnauthorizedError("UnauthorizedError: Wrong username or password")
        async with self._auth.queries() as queries:
            return user, await self._new_token(queries, user.id)

    async def sign_on(self, identity: Identity) -> str:
        """A new token, for who has signed on at the provider. Raises UnauthorizedError where they may not."""
        async with self._auth.queries() as queries:
            holder = await self._auth.signed_on(queries, identity)
            return await self._new_token(queries, holder.user_id)

    async def new_token(self, actor: Actor, email: str) -> str:
        """For scripts, and for users without a password."""
        async with self._auth.queries() as queries:
            user = await _known(queries, email)
            token = await self._new_token(queries, user.id)
            await _note(queries, actor, "token", user.email, tokens.masked(tokens.visible(token)))
            return token

    async def show(self, email: str) -> Listed:
        async with self._auth.queries() as queries:
            return (await _listed(queries, [await _known(queries, email)]))[0]

    async def by_id(self, user_id: int) -> UserFields:
        async with self._auth.queries() as queries:
            user = await queries.by_id(user_id)
            if user is None:
                raise UnauthorizedError()
            return user

    async def page(self, after_id: int, size: int) -> list[Listed]:
        async with self._auth.queries() as queries:
            return await _listed(queries, await queries.page(after_id, size))

    async def tokens_of(self, user_id: int) -> Sequence[TokenFields]:
        async with self._auth.queries() as queries:
            return await queries.tokens(user_id)

    async def revoke(self, user_id: int, token_id: int) -> None:
        async with self._auth.queries() as queries:
            if not await queries.delete_token(user_id, token_id):
                raise NotFoundError("There is no such token.")

    async def disable_by_email(self, actor: Actor, email: str) -> list[Listed]:
        """Empty where there is no such user."""
        async with self._auth.queries() as queries:
            user = await queries.by_email(normal(email))
            return await self._disable(queries, actor, [user] if user is not None else [])

    async def disable_by_token(self, actor: Actor, token: str) -> list[Listed]:
        async with self._auth.queries() as queries:
            user = await queries.by_digest(tokens.digest(token))
            return await self._disable(queries, actor, [user] if user is not None else [])

    async def disable_all_expired(self, actor: Actor) -> list[Listed]:
        async with self._auth.queries() as queries:
            return await self._disable(queries, actor, await queries.expired(_today()))

    async def enable(self, actor: Actor, email: str) -> None:
        async with self._auth.queries() as queries:
            user = await _known(queries, email)
            await queries.set_disabled([user.id], False)
            await _note(queries, actor, "enable", user.email)

    async def delete_by_email(self, actor: Actor, email: str) -> int:
        async with self._auth.queries() as queries:
            user = await queries.by_email(normal(email))
            return len(await self._delete(queries, actor, [user] if user is not None else []))

    async def delete_by_token(self, actor: Actor, token: str) -> int:
        async with self._auth.queries() as queries:
            user = await queries.by_digest(tokens.digest(token))
            return len(await self._delete(queries, actor, [user] if user is not None else []))

    async def delete_all_disabled(self, actor: Actor) -> list[Listed]:
        async with self._auth.queries() as queries:
            return await self._delete(queries, actor, await queries.disabled())

    async def acts(self, before_id: int | None, size: int, text: str = "") -> Sequence[AuditFields]:
        async with self._auth.queries() as queries:
            return await queries.acts(before_id, size, text)

    async def _new_token(self, queries: UserQueries, user_id: int) -> str:
        token = tokens.make()
        expires_at = datetime.now(UTC) + timedelta(days=self._token_days)
        await queries.add_token(user_id, tokens.digest(token), tokens.visible(token), expires_at)
        return token

    async def _disable(self, queries: UserQueries, actor: Actor, users: Sequence[UserFields]) -> list[Listed]:
        listed = await self._without(queries, users)
        await queries.set_disabled([user.id for user in users], True)
        for user in users:
            await _note(queries, actor, "disable", user.email)
        return listed

    async def _delete(self, queries: UserQueries, actor: Actor, users: Sequence[UserFields]) -> list[Listed]:
        listed = await self._without(queries, users)
        await queries.remove([user.id for user in users])
        for user in users:
            await _note(queries, actor, "delete", user.email, user.subject)
        return listed

    async def _without(self, queries: UserQueries, users: Sequence[UserFields]) -> list[Listed]:
        """The users as they are listed. Raises ConflictError where no administrator would be left."""
        today = _today()
        working = [user.id for user in users if user.privileged and not user.disabled and user.expires_on >= today]
        if working and not await queries.administrators_left(working, today):
            raise ConflictError("The last administrator can't be disabled or deleted: make another one first.")
        return await _listed(queries, users)


def normal(email: str) -> str:
    return email.strip().lower()


def _today() -> date:
    return datetime.now(UTC).date()


async def _known(queries: UserQueries, email: str) -> UserFields:
    user = await queries.by_email(normal(email))
    if user is None:
        raise NotFoundError(f"There is no user with email {normal(email)}.", param="email")
    return user


async def _listed(queries: UserQueries, users: Sequence[UserFields]) -> list[Listed]:
    prefixes = await queries.newest_prefixes([user.id for user in users])
    return [Listed(user, prefixes.get(user.id)) for user in users]


async def _note(queries: UserQueries, actor: Actor, act: str, target: str, detail: str | None = None) -> None:
    await queries.note(actor.name, actor.address, act, target, detail)
