"""Signing on by a browser: OpenID Connect's authorization code flow, with PKCE."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlencode

import httpx

from kodify.auth.oidc import FETCH_TIMEOUT_S, Identity, OidcVerifier
from kodify.errors import ConfigError, UnauthorizedError, UnavailableError


class CodeFlow:
    def __init__(self, verifier: OidcVerifier, client_id: str, client_secret: str | None) -> None:
        self._verifier = verifier
        self._client_id = client_id
        self._client_secret = client_secret
        self._trust = ssl.create_default_context()  # the host's authorities; httpx would take a list of its own

    def check(self) -> None:
        """Raises ConfigError where the provider has no such flow; its discovery document has been read."""
        if not self._verifier.authorization_url or not self._verifier.token_url:
            raise ConfigError("OIDC_CLIENT_ID is set, but the provider's discovery document names no such endpoints.")

    def address(self, state: str, nonce: str, challenge: str, redirect_uri: str) -> str:
        """Where to send the browser."""
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid email profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        url = self._verifier.authorization_url
        return f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}"

    async def redeem(self, code: str, code_verifier: str, redirect_uri: str, nonce: str) -> Identity:
        """Who has signed on. Raises UnauthorizedError where the provider does not say so, UnavailableError where it
        can't be reached."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        auth: Any = httpx.USE_CLIENT_DEFAULT
        if self._client_secret is None:
            form["client_id"] = self._client_id
        else:
            auth = httpx.BasicAuth(self._client_id, self._client_secret)
        try:
            async with httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, verify=self._trust) as http:
                answer = await http.post(self._verifier.token_url, data=form, auth=auth)
                token = answer.json().get("id_token") if answer.is_success else None
        except httpx.HTTPError:
            raise UnavailableError("The sign-on provider can't be reached. Please try again later") from None
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str):
            raise UnauthorizedError("UnauthorizedError: The sign-on provider gave no token")
        return await self._verifier.verify(token, audience=self._client_id, nonce=nonce)
