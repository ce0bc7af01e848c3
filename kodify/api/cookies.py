"""Cookies of Kodify's own pages: who is signed in, and which requests may say so by a cookie.

A browser sends cookies with requests that other sites' pages make. So a cookie counts only where such pages can't get:
with a header that they may not set, or, for a WebSocket, from an address of Kodify's own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

SESSION, VISITOR, SIGN_ON = "kodify_session", "kodify_visitor", "kodify_sign_on"
PAGE_HEADER = b"x-kodify-page"
SIGN_ON_PATH = "/session/sign-on"
MOST_TOKEN_BYTES = 3500  # browsers keep cookies of up to 4,096
SIGN_ON_S = 600
VISITOR_S = 365 * 86_400
_VISITOR = re.compile(r"[0-9a-f]{32}")
_VALUE = re.compile(rb"(?:^|;[ ]*)(kodify_[a-z_]+)=([^;]*)")


@dataclass(frozen=True, slots=True)
class Session:
    """`made_here`: the token was made by the sign-in, and ends with it."""

    token: str
    made_here: bool


@dataclass(frozen=True, slots=True)
class SignOnState:
    """What a browser keeps while it is at the provider: it must come back with the same `state`."""

    state: str
    nonce: str
    verifier: str
    next: str


def session(scope: Scope) -> Session | None:
    """None where there is none, or where another site's page may have sent the request."""
    value = _find(scope, SESSION)
    if value is None or not is_own(scope):
        return None
    kind, _, token = value.partition(".")
    if kind not in ("m", "g") or not token:
        return None
    return Session(unquote(token), kind == "m")


def visitor(scope: Scope) -> str | None:
    """A digest that tells a browser from others where clients have no names."""
    value = _find(scope, VISITOR)
    if value is None or not _VISITOR.fullmatch(value) or not is_own(scope):
        return None
    return hashlib.sha256(value.encode()).hexdigest()[:32]


def has_visitor(scope: Scope) -> bool:
    return _VISITOR.fullmatch(_find(scope, VISITOR) or "") is not None


def sign_on_state(scope: Scope) -> SignOnState | None:
    value = _find(scope, SIGN_ON)
    try:
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(value or ""))
        texts = {name: str(found[name]) for name in SignOnState.__dataclass_fields__}
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None
    return SignOnState(**texts)


def is_own(scope: Scope) -> bool:
    """Whether one of Kodify's own pages asks. Another site's can neither set the header without being asked first,
    nor change what its browser says of where it is from."""
    told = {name: value for name, value in scope["headers"] if name in (PAGE_HEADER, b"origin", b"sec-fetch-site")}
    site = told.get(b"sec-fetch-site")
    if site is not None and site != b"same-origin":
        return False
    origin = told.get(b"origin")
    is_from_here = site is not None or (origin is not None and _is_here(scope, origin.decode("latin-1")))
    if scope["type"] == "websocket":
        return is_from_here
    return PAGE_HEADER in told and (origin is None or is_from_here)


def keep_session(answer: Response, connection: HTTPConnection, found: Session, seconds: int) -> None:
    value = f"{'m' if found.made_here else 'g'}.{quote(found.token, safe='')}"
    _keep(answer, connection, SESSION, value, seconds)


def keep_visitor(answer: Response, connection: HTTPConnection) -> None:
    _keep(answer, connection, VISITOR, secrets.token_hex(16), VISITOR_S)


def keep_sign_on(answer: Response, connection: HTTPConnection, state: SignOnState) -> None:
    """Sent back on the way from the provider's site, as a strict one would not be."""
    value = base64.urlsafe_b64encode(json.dumps(asdict(state)).encode()).decode()
    answer.set_cookie(
        SIGN_ON, value, SIGN_ON_S, path=SIGN_ON_PATH, secure=is_secure(connection), httponly=True, samesite="lax"
    )


def drop(answer: Response, name: str, path: str = "/") -> None:
    answer.delete_cookie(name, path=path, httponly=True)


def is_secure(connection: HTTPConnection) -> bool:
    public: str | None = connection.app.state.settings.public_url
    if public is not None:
        return public.startswith("https://")
    return connection.url.scheme == "https" or connection.headers.get("x-forwarded-proto", "").startswith("https")


def own_address(connection: HTTPConnection) -> str:
    """Where browsers reach Kodify, without a slash at its end."""
    public: str | None = connection.app.state.settings.public_url
    if public is not None:
        return public.rstrip("/")
    host = connection.headers.get("x-forwarded-host") or connection.headers.get("host", "")
    return f"{'https' if is_secure(connection) else 'http'}://{host}"


def _keep(answer: Response, connection: HTTPConnection, name: str, value: str, seconds: int) -> None:
    answer.set_cookie(name, value, seconds, secure=is_secure(connection), httponly=True, samesite="strict")


def _find(scope: Scope, wanted: str) -> str | None:
    values = [value for name, value in _cookies(scope) if name == wanted.encode()]
    return values[0].decode("latin-1") if len(values) == 1 else None


def _cookies(scope: Scope) -> Iterator[tuple[bytes, bytes]]:
    for name, value in scope["headers"]:
        if name == b"cookie":
            yield from _VALUE.findall(value)


def _is_here(scope: Scope, origin: str) -> bool:
    """By the host alone: behind a proxy that ends TLS the scheme is another."""
    public: str | None = scope["app"].state.settings.public_url
    hosts = {urlsplit(public).netloc} if public is not None else set()
    for name, value in scope["headers"]:
        if name in (b"host", b"x-forwarded-host"):
            hosts.add(value.decode("latin-1"))
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc in hosts
