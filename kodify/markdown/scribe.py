"""Texts rendered beside the event loop: in few threads, and of one person one text at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from kodify.markdown.html import render

Key = TypeVar("Key")

THREADS = 2  # more would take the event loop its turns: rendering holds the interpreter
QUICK_CHARACTERS = 500  # that are rendered on the event loop


class Scribe:
    """A text may take seconds, and who asks for many at once waits for their own, not the others with them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="markdown")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def render(self, who: str, texts: Mapping[Key, str]) -> dict[Key, str]:
        if sum(map(len, texts.values())) < QUICK_CHARACTERS:
            return {key: render(text) for key, text in texts.items()}
        turn = self._turns.setdefault(who, asyncio.Lock())
        loop = asyncio.get_running_loop()
        async with turn:
            return {key: await loop.run_in_executor(self._threads, render, text) for key, text in texts.items()}

    def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
