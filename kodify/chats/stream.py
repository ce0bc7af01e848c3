"""A text that grows, and who waits for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer has ended. `fields`: what else clients are told of it."""

    status: str  # done, stopped, error
    error: str | None
    fields: dict[str, Any]


class Stream:
    """An answer on its way, made here or followed from another replica. Any number may wait for it."""

    def __init__(self, chat_id: UUID, id: UUID, question_id: UUID) -> None:
        self.chat_id = chat_id
        self.id = id
        self.question_id = question_id
        self.sources: list[dict[str, Any]] | None = None  # what was found for the question
        self.length = 0  # characters
        self.units = 0  # the same as browsers count them
        self.ending: Ending | None = None
        self.lost = False  # nobody follows it here any more
        self._pieces: list[tuple[int, str]] = []  # each with its place
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def text(self) -> str:
        return "".join(piece for _, piece in self._pieces)

    def since(self, place: int) -> str:
        """What follows the first `place` characters."""
        found: list[str] = []
        for start, piece in reversed(self._pieces):
            if start + len(piece) <= place:
                break
            found.append(piece[max(0, place - start) :])
        return "".join(reversed(found))

    def append(self, piece: str) -> None:
        if piece:
            self._pieces.append((self.length, piece))
            self.length += len(piece)
            self.units += units_of(piece)
            self._wake()

    def end(self, ending: Ending | None) -> None:
        """None: its end is not known here."""
        if self.ending is None and not self.lost:
            self.ending, self.lost = ending, ending is None
            self._wake()

    async def grown(self, beyond: int) -> None:
        """Returns when it is longer than that, or has ended."""
        while self.length <= beyond and self.ending is None and not self.lost:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)


def units_of(text: str) -> int:
    """Its length as browsers count it, in UTF-16's units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
