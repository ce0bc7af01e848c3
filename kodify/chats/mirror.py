"""An answer that another replica makes, followed by what it writes down."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from uuid import UUID

from kodify.chats.store import LOST_S, Store
from kodify.chats.stream import Ending, Stream
from kodify.errors import UnavailableError

LOOK_EVERY_S = 1.0  # where nothing is told


class Mirror(Stream):
    def __init__(self, store: Store, message: Any, question_id: UUID) -> None:
        super().__init__(message.chat_id, message.id, question_id)
        self._store = store
        self.sources = message.sources
        self._told = asyncio.Event()
        self.append(message.content)
        self.task: asyncio.Task[None] | None = None

    def poke(self) -> None:
        """Something has been written."""
        self._told.set()

    async def run(self) -> None:
        try:
            while self.ending is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._told.wait()
                self._told.clear()
                with contextlib.suppress(UnavailableError):
                    await self._look()
        finally:
            self.end(None)

    async def _look(self) -> None:
        async with self._store.queries() as queries:
            message = await queries.find_message(self.chat_id, self.id)
            if message is not None and message.status == "generating":
                await self._store.give_up(queries, LOST_S)  # told to all, this one too
        if message is None:
            return self.end(Ending("error", "The chat is gone.", {}))
        self.append(message.content[self.length :])
        if message.status != "generating":
            self.end(ending_of(message))


def ending_of(message: Any) -> Ending:
    """Of a message that has ended."""
    fields: dict[str, Any] = {"finish_reason": message.finish_reason, "model": message.model}
    if message.completion_tokens is not None:
        read, written = message.prompt_tokens or 0, message.completion_tokens
        fields["usage"] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if message.action is not None and message.action.get("complaint"):
        fields["complaint"] = message.action["complaint"]
    if message.sources is not None:
        fields["sources"] = message.sources
    if message.diff is not None:
        fields["diff"] = message.diff
    return Ending(message.status, message.error, fields)
