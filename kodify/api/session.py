"""`/session`: signing in and out of Kodify's pages; the token is in a cookie that no script can read."""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from kodify import __version__
from kodify.api import cookies, errors
from kodify.api.body import read_json
from kodify.api.cookies import Session, SignOnState
from kodify.api.shapes import read
from kodify.api.users import administration
from kodify.auth import AuthMethod, CodeFlow, DummyAuth, Principal, UsersAuth
from kodify.auth.administration import normal
from kodify.errors import (
    BadRequestError,
    ForbiddenError,
    KodifyError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
)
from kodify.protocol.pages import SignIn

log = logging.getLogger(__name__)

FAILED = "/?sign_on=failed"
STILL_WORKS = "This browser is signed out, but its token can't be revoked now: it works until it expires."
DAY_S = 86_400


async def show(request: Request) -> Response:
    """Who is signed in, and how one can sign in."""
    found = cookies.session(request.scope)
    try:
        principal = await _auth(request).identify(None if found is None else found.token)
    except UnauthorizedError:
        principal = None
    return _tell(request, principal)


async def create(request: Request) -> Response:
    """Sign in by a token, or by e-mail and password. Not from another site's page: it could sign somebody in as
    somebody else."""
    if not cookies.is_own(request.scope):
        raise ForbiddenError("Only Kodify's own pages sign in here: others send a token with each request.")
    given = read(await read_json(request), SignIn)
    if given.token is not None and given.token.strip():
        found = Session(given.token.strip(), made_here=False)
    elif given.email and given.password:
        people = administration(request)
        request.app.state.logins.check(request.client.host if request.client is not None else "", normal(given.email))
        found = Session((await people.login(given.email, given.password))[1], made_here=True)
    else:
        raise BadRequestError("Sign in with a token, or with email and password.")
    if len(found.token) > cookies.MOST_TOKEN_BYTES or not found.token.isascii() or not found.token.isprintable():
        raise UnauthorizedError()
    answer = _tell(request, await _auth(request).identify(found.token))
    cookies.keep_session(answer, request, found, _seconds(request))
    return answer


async def end(request: Request) -> Response:
    """Sign out. A token that the sign-in made works no longer; where that can't be written down now, the browser
    forgets it all the same."""
    answer = Response(status_code=204)
    found = cookies.session(request.scope)
    if found is not None:
        try:
            await _revoke(request, found)
        except UnavailableError:
            log.warning("a session's token could not be revoked: the database is away")
            answer = errors.response(UnavailableError(STILL_WORKS, retry_after_s=None))
        cookies.drop(answer, cookies.SESSION)
    return answer


async def sign_on(request: Request) -> Response:
    """On to the provider of single sign-on, by the authorization code flow with PKCE."""
    flow = _flow(request)
    wanted = request.query_params.get("next", "/")
    verifier = secrets.token_urlsafe(48)
    state = SignOnState(secrets.token_urlsafe(24), secrets.token_urlsafe(24), verifier, _own_path(wanted))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    address = flow.address(state.state, state.nonce, challenge, _back(request))
    answer = RedirectResponse(address, 303, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
    cookies.keep_sign_on(answer, request, state)
    return answer


async def signed_on(request: Request) -> Response:
    """Back from the provider, with a code or without."""
    flow = _flow(request)
    kept = cookies.sign_on_state(request.scope)
    given = parse_qs(request.scope["query_string"].decode("latin-1"))
    code, state = given.get("code", [""])[0], given.get("state", [""])[0]
    target, token = FAILED, None
    if kept is not None and code and secrets.compare_digest(state.encode(), kept.state.encode()):
        try:
            identity = await flow.redeem(code, kept.verifier, _back(request), kept.nonce)
            token = await administration(request).sign_on(identity)
            target = _own_path(kept.next)  # a cookie of a neighbouring port or subdomain may be there too
        except KodifyError as error:
            log.warning("a single sign-on was refused: %s", error.message)
    answer = RedirectResponse(target, 303, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
    cookies.drop(answer, cookies.SIGN_ON, cookies.SIGN_ON_PATH)
    if token is not None:
        cookies.keep_session(answer, request, Session(token, made_here=True), _seconds(request))
    return answer


def owner(connection: HTTPConnection) -> str:
    """Whose a chat is that this request makes: `user:` and an id, or `visitor:` and a browser's digest where clients
    have no names; "" for a client without either."""
    principal: Principal = connection.state.principal
    if principal.user_id is not None:
        return f"user:{principal.user_id}"
    visitor = cookies.visitor(connection.scope)
    return f"visitor:{visitor}" if visitor is not None else ""


def _tell(request: Request, principal: Principal | None) -> Response:
    auth = _auth(request)
    told: dict[str, Any] = {
        "signed_in": principal is not None,
        "name": principal.name if principal is not None else None,
        "administrator": principal is not None and "admin" in principal.scopes,
        "methods": _methods(auth),
        "version": __version__,
    }
    answer = Response(orjson.dumps(told), media_type="application/json", headers={"cache-control": "no-store"})
    is_new = not isinstance(auth, UsersAuth) and not cookies.has_visitor(request.scope)
    if is_new and cookies.is_own(request.scope):  # by another site's link the browser comes without its own
        cookies.keep_visitor(answer, request)
    return answer


def _methods(auth: AuthMethod) -> list[str]:
    if isinstance(auth, UsersAuth):
        return ["token", "password", *(["sign-on"] if auth.code_flow is not None else [])]
    return [] if isinstance(auth, DummyAuth) else ["token"]


async def _revoke(request: Request, found: Session) -> None:
    if not found.made_here:
        return
    try:
        principal = await _auth(request).identify(found.token)
        if principal.user_id is not None and principal.token_id is not None:
            await administration(request).revoke(principal.user_id, principal.token_id)
    except (UnauthorizedError, NotFoundError):
        pass  # it has ended already


def _own_path(wanted: str) -> str:
    """A path of Kodify's own; browsers take `//host` and `/\\host` for another site's."""
    is_path = wanted.startswith("/") and wanted[1:2] not in ("/", "\\") and wanted.isprintable() and wanted.isascii()
    return wanted if is_path and len(wanted) <= 500 else "/"


def _back(request: Request) -> str:
    return f"{cookies.own_address(request)}{cookies.SIGN_ON_PATH}/callback"


def _seconds(request: Request) -> int:
    days: int = request.app.state.settings.token_days
    return days * DAY_S


def _auth(request: Request) -> AuthMethod:
    found: AuthMethod = request.app.state.auth
    return found


def _flow(request: Request) -> CodeFlow:
    auth = _auth(request)
    if not isinstance(auth, UsersAuth) or auth.code_flow is None:
        raise NotFoundError("There is no single sign-on here: OIDC_CLIENT_ID is not set.")
    return auth.code_flow
