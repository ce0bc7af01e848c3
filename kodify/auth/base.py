"""What a method of authorisation is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. `name` is None where clients have no names."""

    name: str | None
    scopes: frozenset[str]


class AuthMethod(Protocol):
    @property
    def label(self) -> str:
        """Its name in the start-up block."""

    async def identify(self, token: str | None) -> Principal:
        """`token` as the client sent it, None where it sent none or sent something odd.

        Raises UnauthorizedError.
        """
