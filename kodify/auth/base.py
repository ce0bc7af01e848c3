"""What a method of authorisation is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# A pattern of e-mails: of logins, forms, the command line and sign-on tokens alike.
EMAIL = r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+$"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. `name` is None where clients have no names."""

    name: str | None
    scopes: frozenset[str]
    user_id: int | None = None
    token_id: int | None = None


class AuthMethod(Protocol):
    @property
    def label(self) -> str:
        """Its name in the start-up block."""

    async def start(self) -> None:
        """Raises ConfigError where it can't serve as configured."""

    async def stop(self) -> None: ...

    async def identify(self, token: str | None) -> Principal:
        """`token` as the client sent it, None where it sent none or sent something odd.

        Raises UnauthorizedError.
        """
