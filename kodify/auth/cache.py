"""Who holds which token, for half a minute: a warm request asks no database."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from kodify.db.users import Holder

FRESH_S = 30
MOST_ENTRIES = 10_000


@dataclass(slots=True)
class Known:
    holder: Holder
    checked_at: float  # on the monotonic clock
    epoch: int


class HolderCache:
    """By token digest, the least recently used one out first.

    `forget` empties it, when something about users has changed. `distrust` keeps what is known for the time that the
    database can't be reached, and for nothing else: a change may have been missed.
    """

    def __init__(self, most: int = MOST_ENTRIES) -> None:
        self._entries: OrderedDict[bytes, Known] = OrderedDict()
        self._most = most
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes) -> Known | None:
        known = self._entries.get(digest)
        if known is not None:
            self._entries.move_to_end(digest)
        return known

    def is_fresh(self, known: Known) -> bool:
        return known.epoch == self.epoch and time.monotonic() - known.checked_at < FRESH_S

    def put(self, digest: bytes, holder: Holder, epoch: int) -> None:
        """`epoch`: of before the database was asked; an answer that a change has overtaken is not kept."""
        if epoch != self.epoch:
            return
        self._entries[digest] = Known(holder, time.monotonic(), epoch)
        self._entries.move_to_end(digest)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def drop(self, digest: bytes) -> None:
        self._entries.pop(digest, None)

    def forget(self) -> None:
        self.epoch += 1
        self._entries.clear()

    def distrust(self) -> None:
        self.epoch += 1
