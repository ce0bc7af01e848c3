"""Qdrant, where the collections are in a server of its own: whether it answers, and is one that the client knows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import httpx
from qdrant_client.common.version_check import is_compatible

from kodify.doctor.finding import Finding, failed, ok, warning
from kodify.settings import Settings

PATIENCE_S = 10.0


def look(settings: Settings) -> Iterator[Finding]:
    if settings.qdrant_url is None:
        return
    place, key = settings.qdrant_url.get_secret_value(), settings.qdrant_api_key
    headers = {"api-key": key.get_secret_value()} if key is not None else {}
    try:
        with httpx.Client(base_url=place, headers=headers, timeout=PATIENCE_S, trust_env=False) as client:
            root, listed = client.get("/"), client.get("/collections")
            theirs = str(root.json()["version"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        reason = type(error).__name__  # its text may have the address, and that a password
        yield failed("collections", f"No Qdrant answers at QDRANT_URL ({reason}): start it, or correct the address.")
        return
    if listed.status_code in (401, 403):
        yield failed("collections", "Qdrant refuses the key: correct QDRANT_API_KEY.")
        return
    ours = version("qdrant-client")
    if is_compatible(ours, theirs):
        yield ok("collections", f"Qdrant {theirs} answers.")
    else:
        yield warning(
            "collections",
            f"Qdrant is {theirs}, and Kodify's client {ours}: take one whose minor version differs by one at most.",
        )
