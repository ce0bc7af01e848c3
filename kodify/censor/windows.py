"""A text that grows, checked elsewhere in overlapping windows, several under way at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

# Characters. A flagged passage of up to OVERLAP is whole in some window, and none of it is shown before.
OVERLAP = 100
STEP = 200  # worth a check when none is under way
WINDOW = 800  # worth one more
LARGEST = 8000
MOST_AT_ONCE = 4


class Windows:
    """`safe`: the text before it has passed. `told` is called whenever a verdict has come."""

    def __init__(self, check: Callable[[str], Awaitable[bool]], told: Callable[[], None]) -> None:
        self._check = check
        self._told = told
        self._text = ""
        self._begin = 0  # of `_text`, in the whole text
        self._sent = 0
        self._last = False
        self._under_way: deque[tuple[int, asyncio.Task[bool]]] = deque()  # with the end of the window
        self._closed = False
        self.safe = 0
        self.flagged = False
        self.error: Exception | None = None

    def feed(self, text: str, *, last: bool) -> None:
        self._text += text
        self._last = last
        self._send()

    def close(self) -> None:
        """No verdict is waited for any more."""
        self._closed = True
        for _, task in self._under_way:
            task.cancel()
        self._under_way.clear()

    def _send(self) -> None:
        end = self._begin + len(self._text)
        while self._sent < end and len(self._under_way) < MOST_AT_ONCE:
            least = 1 if self._last else WINDOW if self._under_way else STEP
            if end - self._sent < least:
                break
            self._sent = min(end, self._begin + LARGEST)
            task = asyncio.ensure_future(self._one(self._text[: self._sent - self._begin]))
            task.add_done_callback(self._landed)
            self._under_way.append((self._sent, task))
            begin = max(self._begin, self._sent - OVERLAP)
            self._text = self._text[begin - self._begin :]
            self._begin = begin
        if self._last and self._sent == end and not self._under_way:
            self.safe = end

    async def _one(self, text: str) -> bool:
        return await self._check(text)

    def _landed(self, task: asyncio.Task[bool]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if self._closed:
            return
        if isinstance(error, Exception):
            self.error = self.error or error
        elif task.result():
            self.flagged = True
        if self.error is None and not self.flagged:
            while self._under_way and _passed(self._under_way[0][1]):
                self.safe = max(self.safe, self._under_way.popleft()[0] - OVERLAP)
            self._send()
        self._told()


def _passed(task: asyncio.Task[bool]) -> bool:
    """One may be done and not have landed yet: its verdict counts."""
    return task.done() and not task.cancelled() and task.exception() is None and not task.result()
