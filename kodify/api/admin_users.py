"""`/api/v1/admin/users`, their tokens, and `/api/v1/admin/audit`."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kodify.api.admin import answer, number, read, read_query, register, unprocessable
from kodify.api.users import actor, shown_moment, shown_token
from kodify.auth import tokens
from kodify.auth.administration import Listed, normal
from kodify.auth.base import EMAIL
from kodify.protocol.admin import AuditQuery, NewToken, NewUser, UserChange, UsersQuery

NO_USER, NO_TOKEN = "There is no such user.", "There is no such token."


async def index(request: Request) -> Response:
    """A page of users; `next` is where the following one begins, null at the end."""
    wanted = read_query(request, UsersQuery)
    found, count = await register(request).search(wanted.search, wanted.after, wanted.limit)
    following = found[-1].user.id if len(found) == wanted.limit else None
    return answer({"data": [_user(listed) for listed in found], "total": count, "next": following})


async def create(request: Request) -> Response:
    """The user, and the one sight of their first token."""
    wanted = await read(request, NewUser)
    email = normal(wanted.email)
    if not re.match(EMAIL, email):
        raise unprocessable("email: it must be an e-mail", "email")
    user, token = await register(request).create(
        actor(request), email, wanted.password, wanted.days, privileged=wanted.privileged
    )
    return answer({**_user(Listed(user, tokens.visible(token))), "token": token}, 201)


async def change(request: Request) -> Response:
    """Disable the user, or let them in again."""
    user_id, wanted = number(request, "id", NO_USER), await read(request, UserChange)
    return answer(_user(await register(request).set_disabled(actor(request), user_id, wanted.disabled)))


async def delete(request: Request) -> Response:
    await register(request).delete(actor(request), number(request, "id", NO_USER))
    return Response(status_code=204)


async def list_tokens(request: Request) -> Response:
    found = await register(request).known_tokens(number(request, "id", NO_USER))
    return answer({"data": [shown_token(token, request.state.principal) for token in found]})


async def make_token(request: Request) -> Response:
    """The token, which is shown this once."""
    user_id, wanted = number(request, "id", NO_USER), await read(request, NewToken)
    made, token = await register(request).make_token(actor(request), user_id, wanted.days)
    return answer({**shown_token(made, request.state.principal), "token": token}, 201)


async def revoke(request: Request) -> Response:
    user_id, token_id = number(request, "id", NO_USER), number(request, "token_id", NO_TOKEN)
    await register(request).revoke_of(actor(request), user_id, token_id)
    return Response(status_code=204)


async def audit(request: Request) -> Response:
    """What administrators did, the newest first."""
    wanted = read_query(request, AuditQuery)
    found = await register(request).acts(wanted.before, wanted.limit, wanted.search)
    following = found[-1].id if len(found) == wanted.limit else None
    return answer({"data": [{**act.model_dump(), "at": shown_moment(act.at)} for act in found], "next": following})


def _user(listed: Listed) -> dict[str, Any]:
    user = listed.user
    return {
        "id": user.id,
        "email": user.email,
        "expiration_date": user.expires_on.isoformat(),
        "disabled": user.disabled,
        "privileged": user.privileged,
        "created_at": shown_moment(user.created_at),
        "has_password": user.password_hash is not None,
        "signs_on": user.subject is not None,
        "token": listed.token,
    }
