"""No authorisation: everybody may use the models. For a laptop, or behind a gateway that has its own."""

from __future__ import annotations

from kodify.auth.base import Principal

_ANYBODY = Principal(None, frozenset({"user"}))


class DummyAuth:
    label = "off"

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def identify(self, token: str | None) -> Principal:
        return _ANYBODY
