"""The lines that are decided but not shown yet."""

from __future__ import annotations


class Held:
    """Shows no white space until something follows it."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._ready = ""
        self._space = ""
        self._has_shown = False

    def add(self, line: str) -> None:
        self._lines.append(line)

    def drop(self, count: int) -> None:
        del self._lines[len(self._lines) - count :]

    def clear(self) -> None:
        self._lines.clear()

    def release(self, *, but: int = 0) -> None:
        """All lines may be shown except the last ones."""
        while len(self._lines) > but:
            text = self._space + self._lines.pop(0)
            body = text.rstrip()
            self._ready += body
            self._space = text[len(body) :]
            self._has_shown = self._has_shown or bool(body)

    def release_space(self, gap: str) -> None:
        """The white space at the end, for text that follows the cursor; blank lines are left out."""
        space = self._space + gap
        if self._has_shown:
            self._ready += "\n" + space.rsplit("\n", 1)[1] if "\n" in space else space

    def take(self) -> str:
        ready, self._ready = self._ready, ""
        return ready
