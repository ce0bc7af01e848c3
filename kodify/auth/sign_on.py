"""Users of a sign-on provider: made when they are first seen, and what their provider says of them kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kodify.auth.oidc import Identity, OidcVerifier
from kodify.db.users import Holder, UserQueries
from kodify.errors import ConflictError, UnauthorizedError, UnavailableError

ACTOR = "single sign-on"


@dataclass(frozen=True)
class SignOn:
    """`days`: how long a user who is made at first sight may use Kodify."""

    verifier: OidcVerifier
    days: int

    async def holder(self, queries: UserQueries, identity: Identity) -> Holder:
        """Raises UnauthorizedError where the e-mail is another's and the provider does not vouch for it."""
        user = await queries.by_subject(identity.subject)
        if user is None:
            user = await queries.by_email(identity.email)
            if user is not None:
                if not identity.email_verified or user.subject is not None:
                    raise UnauthorizedError("UnauthorizedError: The token's e-mail belongs to another user")
                user.subject = identity.subject
                await queries.note(ACTOR, None, "link", user.email, identity.subject)
        if user is None:
            # An administrator who changes their mind makes a user of that e-mail.
            if identity.email_verified is False or await queries.was_deleted(identity.subject):
                raise UnauthorizedError()
            try:
                user = await queries.add(
                    email=identity.email,
                    subject=identity.subject,
                    expires_on=datetime.now(UTC).date() + timedelta(days=self.days),
                    privileged=identity.administrator,
                )
            except ConflictError:  # another replica has just seen the same user: the next try finds them
                raise UnavailableError(retry_after_s=1) from None
            await queries.note(ACTOR, None, "create", user.email, "administrator" if identity.administrator else None)
        elif self.verifier.names_administrators and user.privileged != identity.administrator:
            today = datetime.now(UTC).date()
            if identity.administrator or await queries.administrators_left([user.id], today):
                user.privileged = identity.administrator
                await queries.note(ACTOR, None, "privilege" if identity.administrator else "unprivilege", user.email)
                await queries.tell_replicas()
        return Holder(None, user.id, user.email, user.privileged, user.disabled, user.expires_on, identity.expires_at)
