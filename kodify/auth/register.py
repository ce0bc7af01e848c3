"""The users by their ids, as the administrators' page and its API know them; every act is in the audit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kodify.auth import tokens
from kodify.auth.administration import Actor, Administration, Listed
from kodify.db.tables import TokenFields, UserFields
from kodify.db.users import UserQueries
from kodify.errors import NotFoundError


class Register(Administration):
    async def search(self, text: str, after_id: int, size: int) -> tuple[list[Listed], int]:
        """Those whose e-mail has the text, and how many there are of them."""
        async with self._auth.queries() as queries:
            users, count = await queries.search(text.strip(), after_id, size)
            return await _listed(queries, users), count

    async def user(self, user_id: int) -> Listed:
        async with self._auth.queries() as queries:
            return (await _listed(queries, [await _known(queries, user_id)]))[0]

    async def set_disabled(self, actor: Actor, user_id: int, disabled: bool) -> Listed:
        """Raises ConflictError where no administrator would be left."""
        async with self._auth.queries() as queries:
            user = await _known(queries, user_id)
            if disabled and not user.disabled:
                await self._disable(queries, actor, [user])
            elif not disabled and user.disabled:
                await queries.set_disabled([user.id], False)
                await queries.note(actor.name, actor.address, "enable", user.email)
            return (await _listed(queries, [user]))[0]

    async def delete(self, actor: Actor, user_id: int) -> None:
        """Raises ConflictError where no administrator would be left."""
        async with self._auth.queries() as queries:
            await self._delete(queries, actor, [await _known(queries, user_id)])

    async def known_tokens(self, user_id: int) -> Sequence[TokenFields]:
        """Raises NotFoundError where there is no such user."""
        async with self._auth.queries() as queries:
            await _known(queries, user_id)
            return await queries.tokens(user_id)

    async def make_token(self, actor: Actor, user_id: int, days: int | None) -> tuple[TokenFields, str]:
        """The one sight of it. `days`: how long it works; None: as those that logins make."""
        token = tokens.make()
        expires_at = datetime.now(UTC) + timedelta(days=self._token_days if days is None else days)
        async with self._auth.queries() as queries:
            user = await _known(queries, user_id)
            made = await queries.add_token(user.id, tokens.digest(token), tokens.visible(token), expires_at)
            await queries.note(actor.name, actor.address, "token", user.email, tokens.masked(made.prefix))
            return made, token

    async def revoke_of(self, actor: Actor, user_id: int, token_id: int) -> None:
        async with self._auth.queries() as queries:
            user = await _known(queries, user_id)
            own = next((one for one in await queries.tokens(user_id) if one.id == token_id), None)
            if own is None or not await queries.delete_token(user_id, token_id):
                raise NotFoundError("There is no such token.")
            await queries.note(actor.name, actor.address, "revoke token", user.email, tokens.masked(own.prefix))


async def _known(queries: UserQueries, user_id: int) -> UserFields:
    user = await queries.by_id(user_id)
    if user is None:
        raise NotFoundError("There is no such user.", param="id")
    return user


async def _listed(queries: UserQueries, users: Sequence[UserFields]) -> list[Listed]:
    prefixes = await queries.newest_prefixes([user.id for user in users])
    return [Listed(user, prefixes.get(user.id)) for user in users]
