"""Logins, one's own tokens, and the administration of users: form bodies and answers as documented."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from kodify.api.guard import bearer_token
from kodify.auth import Administration, Principal, TokenFields, UserFields, tokens
from kodify.auth.administration import Actor, Listed, normal
from kodify.auth.base import EMAIL
from kodify.errors import NotFoundError, UnprocessableEntityError

MOST_DAYS = 36_500
MOST_DIGITS = 18  # of an id
Email = Annotated[str, BeforeValidator(normal), Field(min_length=3, max_length=254, pattern=EMAIL)]
Plain = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
Password = Annotated[str, Field(min_length=1, max_length=1024)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Login(_Form):
    username: Annotated[Plain, Field(max_length=254)]
    password: Password


class NewUser(_Form):
    email: Email
    password: Password
    expire: int = Field(ge=0, le=MOST_DAYS)  # days
    privileged: bool = False


class ByEmail(_Form):
    email: Annotated[Plain, Field(max_length=254)]


class ByToken(_Form):
    token: Plain


async def log_in(request: Request) -> Response:
    form = await _read(request, Login)
    request.app.state.logins.check(_address(request) or "", normal(form.username))
    _, token = await administration(request).login(form.username, form.password)
    return _json({"access_token": token, "token_type": "bearer"}, headers={"cache-control": "no-store"})


async def me(request: Request) -> Response:
    principal: Principal = request.state.principal
    user = await administration(request).by_id(_own_id(principal))
    return _json(_user(user, bearer_token(request.scope)))


async def my_tokens(request: Request) -> Response:
    principal: Principal = request.state.principal
    found = await administration(request).tokens_of(_own_id(principal))
    return _json({"data": [shown_token(token, principal) for token in found]})


async def revoke_my_token(request: Request) -> Response:
    principal: Principal = request.state.principal
    number: str = request.path_params["id"]
    if not number.isdecimal() or not number.isascii() or len(number) > MOST_DIGITS:
        raise NotFoundError("There is no such token.")
    await administration(request).revoke(_own_id(principal), int(number))
    return Response(status_code=204)


async def user_info(request: Request) -> Response:
    try:
        asked = ByEmail.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise _unprocessable(error) from None
    found = await administration(request).show(asked.email)
    own = found.user.id == request.state.principal.user_id
    return _json(_user(found.user, bearer_token(request.scope) if own else found.token))


async def create(request: Request) -> Response:
    form = await _read(request, NewUser)
    user, token = await administration(request).create(
        actor(request), form.email, form.password, form.expire, privileged=form.privileged
    )
    return _json(_user(user, token), headers={"cache-control": "no-store"})


async def disable_by_email(request: Request) -> Response:
    form = await _read(request, ByEmail)
    return _disabled(await administration(request).disable_by_email(actor(request), form.email))


async def disable_by_token(request: Request) -> Response:
    form = await _read(request, ByToken)
    return _disabled(await administration(request).disable_by_token(actor(request), form.token), form.token)


async def disable_all_expired(request: Request) -> Response:
    return _disabled(await administration(request).disable_all_expired(actor(request)))


async def delete_by_email(request: Request) -> Response:
    form = await _read(request, ByEmail)
    count = await administration(request).delete_by_email(actor(request), form.email)
    return PlainTextResponse(f"Start deletion:\n{count} users with email {normal(form.email)} were deleted")


async def delete_by_token(request: Request) -> Response:
    form = await _read(request, ByToken)
    count = await administration(request).delete_by_token(actor(request), form.token)
    return PlainTextResponse(f"Start deletion:\n{count} users with token {form.token} were deleted")


async def delete_all_disabled(request: Request) -> Response:
    listed = await administration(request).delete_all_disabled(actor(request))
    return PlainTextResponse("\n".join(["Start deletion:", *(found.line("Delete") for found in listed)]))


def _disabled(listed: list[Listed], shown: str | None = None) -> Response:
    return PlainTextResponse("\n".join(["Start disabling:", *(found.line("Disable", shown) for found in listed)]))


def administration(request: Request) -> Administration:
    found: Administration | None = request.app.state.administration
    if found is None:
        raise NotFoundError("There are no users here: MTSAI_AUTH is off.")
    return found


def _own_id(principal: Principal) -> int:
    assert principal.user_id is not None
    return principal.user_id


def actor(request: Request) -> Actor:
    return Actor(request.state.principal.name or "", _address(request))


def _address(request: Request) -> str | None:
    return request.client.host if request.client is not None else None


async def _read(request: Request, shape: type[Any]) -> Any:
    """The form's fields. Raises UnprocessableEntityError where it is none or they are wrong."""
    try:
        async with request.form(max_files=0, max_fields=20) as form:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
    except HTTPException as error:  # how Starlette refuses a form that it can't read
        raise UnprocessableEntityError(f"Unprocessable Entity: {error.detail}") from None
    try:
        return shape.model_validate(fields)
    except ValidationError as error:
        raise _unprocessable(error) from None


def _unprocessable(error: ValidationError) -> UnprocessableEntityError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    return UnprocessableEntityError(f"Unprocessable Entity: {name}: {first['msg']}", param=name)


def _user(user: UserFields, token: str | None) -> dict[str, Any]:
    return {
        "token": token,
        "email": user.email,
        "expiration_date": user.expires_on.isoformat(),
        "disabled": user.disabled,
        "privileged": user.privileged,
    }


def shown_token(token: TokenFields, principal: Principal) -> dict[str, Any]:
    return {
        "id": token.id,
        "token": tokens.masked(token.prefix),
        "created_at": shown_moment(token.created_at),
        "expires_at": shown_moment(token.expires_at),
        "last_used_at": shown_moment(token.last_used_at),
        "current": token.id == principal.token_id,
    }


def shown_moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _json(content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), media_type="application/json", headers=headers)
