"""What is taken out before anything is kept: tokens, wherever a client has written them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

MASK = b"********"
# Shorter ones are words that a text may have.
SHORTEST_SECRET, SHORTEST_TOKEN = 8, 16

_SCHEMES = (b"bearer", b"basic")
_COOKIE = re.compile(rb"kodify_session=[a-z]\.([^;]+)")
_JSON_ESCAPES = re.compile(rb"[^ !#-\[\]-~]")
_KODIFY_TOKEN = re.compile(rb"kdf_[0-9A-Za-z]{16,}")


class Mask:
    def __init__(self, secrets: Iterable[str]) -> None:
        """`secrets`: known ones, masked in every form in which JSON may write them."""
        self._known = _longest_first(
            {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _forms(secret)}
        )

    def hide(self, data: bytes, own: tuple[bytes, ...] = ()) -> bytes:
        """`own` are the request's."""
        for secret in self._known:
            if secret in data:
                data = data.replace(secret, MASK)
        for secret in own:
            if secret in data:
                data = data.replace(secret, MASK)
        if b"kdf_" in data:  # last: a known one may have it in it
            data = _KODIFY_TOKEN.sub(b"kdf_" + MASK, data)
        return data

    def hide_text(self, text: str | None, own: tuple[bytes, ...] = ()) -> str | None:
        if text is None or not (self._known or own or "kdf_" in text):
            return text
        data = text.encode("utf-8", "replace")
        hidden = self.hide(data, own)
        return text if hidden is data else hidden.decode("utf-8", "replace")


def credentials(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, ...]:
    """What a request's headers carry that must not be kept, used or not, in every form."""
    found = set()
    for name, value in headers:
        if name in (b"authorization", b"x-api-key"):
            whole = value.strip()
            scheme, _, token = whole.partition(b" ")
            for secret in (token.strip(),) if scheme.lower() in _SCHEMES else (whole, token.strip()):
                if len(secret) >= SHORTEST_TOKEN:
                    found.add(secret)
                    if _JSON_ESCAPES.search(secret):
                        found.update(_forms(secret.decode("latin-1")))
        elif name == b"cookie":
            secrets = map(unquote_to_bytes, _COOKIE.findall(value))
            found.update(secret for secret in secrets if len(secret) >= SHORTEST_TOKEN)
    return _longest_first(found) if len(found) > 1 else tuple(found)


def _longest_first(secrets: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(secrets, key=len, reverse=True))


def _forms(secret: str) -> tuple[bytes, ...]:
    return (
        secret.encode(),
        json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
        json.dumps(secret)[1:-1].encode(),
    )
