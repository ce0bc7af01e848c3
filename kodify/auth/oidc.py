"""Single sign-on: a bearer JWT of an OpenID Connect provider, checked with the keys that it publishes."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

import jwt
from jwt import PyJWKSet

from kodify.auth.base import EMAIL
from kodify.errors import ConfigError, UnauthorizedError, UnavailableError

# Only signatures that nobody can make who has the public key; "none" and shared secrets are not among them.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
FETCH_TIMEOUT_S = 5
KEYS_FRESH_S = 300
# A token with an unknown key makes us look for a new one, at most so often: anybody can send such tokens.
LOOK_AGAIN_S = 10
LEEWAY_S = 30
_FETCH_ERRORS = (OSError, ValueError, HTTPException)
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f]{1,500}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token says that its bearer is."""

    subject: str  # issuer and subject: unique over providers
    email: str
    email_verified: bool | None  # None where the provider does not say
    administrator: bool
    expires_at: datetime


class OidcVerifier:
    def __init__(self, discovery_url: str, audience: str, email_claim: str, admin_claim: str | None) -> None:
        """`admin_claim`: `name=value`; the claim may be a list that holds the value."""
        self._discovery_url = discovery_url
        self._audience = audience
        self._email_claim = email_claim
        self._admin_claim = admin_claim.partition("=")[::2] if admin_claim else None
        self._issuer = ""
        self._jwks_url = ""
        self.authorization_url = self.token_url = ""  # of the discovery document, where it has them
        self._keys: dict[str, Any] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._is_away = False
        self._background: asyncio.Future[None] | None = None
        self._fetching = asyncio.Lock()

    @property
    def names_administrators(self) -> bool:
        """Whether the provider decides who administrates; without a claim to look at Kodify does."""
        return self._admin_claim is not None

    async def start(self) -> None:
        """Reads the provider's discovery document. Raises ConfigError where it is none."""
        try:
            document = await asyncio.to_thread(_fetch, self._discovery_url)
            self._issuer, self._jwks_url = str(document["issuer"]), str(document["jwks_uri"])
            self.authorization_url = str(document.get("authorization_endpoint") or "")
            self.token_url = str(document.get("token_endpoint") or "")
        except (*_FETCH_ERRORS, KeyError, TypeError) as error:
            raise ConfigError(
                f"OIDC_DISCOVERY_URL is {self._discovery_url}, which gives no discovery document ({error}): set it to "
                "the provider's …/.well-known/openid-configuration."
            ) from None

    @staticmethod
    def looks_like(token: str) -> bool:
        return token.startswith("eyJ") and token.count(".") == 2

    async def verify(self, token: str, *, audience: str | None = None, nonce: str | None = None) -> Identity:
        """`nonce`: that the token must have.

        Raises UnauthorizedError for a token that does not check out, UnavailableError without the keys.
        """
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise UnauthorizedError()
            key = await self._key(header.get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=[header["alg"]],
                audience=audience or self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
            expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, OSError):
            raise UnauthorizedError() from None
        if not _SUBJECT.fullmatch(str(claims["sub"])) or (nonce is not None and claims.get("nonce") != nonce):
            raise UnauthorizedError()
        email = claims.get(self._email_claim)
        if not isinstance(email, str) or len(email) > 254 or not re.fullmatch(EMAIL, email.strip()):
            raise UnauthorizedError(f"UnauthorizedError: The token has no e-mail (claim {self._email_claim})")
        return Identity(
            subject=f"{claims['iss']}|{claims['sub']}",
            email=email.strip().lower(),
            email_verified=verified if isinstance(verified := claims.get("email_verified"), bool) else None,
            administrator=self._is_administrator(claims),
            expires_at=expires_at,
        )

    def _is_administrator(self, claims: dict[str, Any]) -> bool:
        if self._admin_claim is None:
            return False
        name, wanted = self._admin_claim
        value = claims.get(name)
        return wanted in value if isinstance(value, list) else value == wanted or (value is True and wanted == "true")

    async def _key(self, kid: Any) -> Any:
        """A token may leave its key unnamed where the provider has one only. A key that is held is used at once;
        only a token with an unknown one waits for a look at the provider."""
        if kid is None and len(self._keys) == 1:
            kid = next(iter(self._keys))
        if time.monotonic() - self._fetched_at > KEYS_FRESH_S or kid not in self._keys:
            if kid in self._keys:
                self._background = asyncio.ensure_future(self._look_again())
            else:
                await self._look_again()
        if kid is None and len(self._keys) == 1:
            kid = next(iter(self._keys))
        if kid in self._keys:
            return self._keys[kid]
        if self._is_away:
            raise UnavailableError("The sign-on provider can't be reached. Please try again later")
        raise UnauthorizedError()

    async def _look_again(self) -> None:
        async with self._fetching:
            if time.monotonic() - self._tried_at < LOOK_AGAIN_S:
                return
            self._tried_at = time.monotonic()
            try:
                keys = PyJWKSet.from_dict(await asyncio.to_thread(_fetch, self._jwks_url)).keys
            except (*_FETCH_ERRORS, jwt.PyJWTError):
                self._is_away = True
                return
            self._is_away = False
            self._keys = {key.key_id or str(number): key for number, key in enumerate(keys)}
            self._fetched_at = time.monotonic()


def _fetch(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:
        document = json.load(answer)
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    return document
