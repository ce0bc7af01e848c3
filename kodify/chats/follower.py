"""One socket's place in a chat: what is still to be told there, in its order."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from kodify.chats.stream import Stream

MOST_WAITING = 200  # of a socket that does not read; beyond it, it is closed


@dataclass(frozen=True, slots=True)
class Said:
    """What a user has said, or has asked to be answered again; `from_id`: what is dropped, with all that follows."""

    message_id: str
    message: str
    from_id: str | None = None
    action: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """The last item."""

    code: int
    reason: str


Item = Said | Stream | Closing


class Follower:
    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._there = asyncio.Event()
        self.seen: set[Any] = set()  # streams that were followed

    def put(self, item: Item) -> None:
        if len(self._items) >= MOST_WAITING:
            self._items.clear()
            item = Closing(1013, "This client reads too slowly.")
        self._items.append(item)
        self._there.set()

    async def next(self) -> Item:
        """Streams once each."""
        while True:
            while not self._items:
                self._there.clear()
                await self._there.wait()
            item = self._items.popleft()
            if isinstance(item, Stream):
                if item.id in self.seen:
                    continue
                self.seen.add(item.id)
            return item
