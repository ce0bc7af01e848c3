"""Whoever is asked by TLS is trusted by the host's authorities, among which a company's own may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import certifi
import pytest

from kodify.auth.code_flow import CodeFlow
from kodify.auth.oidc import OidcVerifier
from kodify.client.asking import RefusedError, Server
from kodify.errors import KodifyError
from kodify.retrieval.remote import RemoteCollection
from tests.conftest import free_port


async def sign_on(url: str) -> None:
    verifier = OidcVerifier(url, "kodify", "email", None)
    verifier.token_url = url
    await CodeFlow(verifier, "kodify", None).redeem("code", "verifier", url, "nonce")


async def act(url: str) -> None:
    Server(url).act("explain", {}, lambda text: None)


async def index(url: str) -> None:
    async with RemoteCollection(url, None, "project") as collection:
        await collection.make_sure()


@pytest.mark.parametrize("ask", [sign_on, act, index])
async def test_no_list_of_its_own_is_read(ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):  # which httpx would heed
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(certifi, "where", lambda: pytest.fail("httpx's own list was read"))
    monkeypatch.setattr("kodify.retrieval.remote.TRIES", 1)
    with pytest.raises((KodifyError, RefusedError)):
        await ask(f"https://127.0.0.1:{free_port()}")
