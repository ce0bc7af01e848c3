"""Passwords: argon2id, in a thread, for each takes tens of milliseconds and 64 MiB by design."""

from __future__ import annotations

import asyncio
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE = 4  # hashes at the same time: logins must not take the machine's memory

_hasher = PasswordHasher()


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def verify(password: str, stored: str | None) -> bool:
    """Blocks. For a user without a password, or no user at all, it takes as long and is never true."""
    try:
        return _hasher.verify(stored or _nobodys(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return _hasher.hash("the password of nobody")


class Passwords:
    def __init__(self) -> None:
        _nobodys()  # now, so that not even the first unknown user takes longer than a known one
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def hash(self, password: str) -> str:
        async with self._slots:
            return await asyncio.to_thread(hash_password, password)

    async def verify(self, password: str, stored: str | None) -> bool:
        async with self._slots:
            return await asyncio.to_thread(verify, password, stored)
