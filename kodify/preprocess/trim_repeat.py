"""Lines that a model says again and again."""

from __future__ import annotations

from kodify.preprocess.languages import Language
from kodify.preprocess.trim_place import is_trivial

LONGEST_CYCLE = 4


class Repeats:
    """The completion's lines that are not blank, as they come."""

    def __init__(self, before: tuple[str, ...], language: Language) -> None:
        self._language = language
        self._lines: list[str] = []
        self._runs = dict.fromkeys(range(1, LONGEST_CYCLE + 1), 0)
        # The last lines above the cursor that the completion may be saying again, each as what is left to be said.
        self._echoes = [list(before[-count:]) for count in range(1, len(before) + 1)]
        self._count = 0

    @property
    def held(self) -> int:
        """How many of the last lines may still turn out to be a repetition."""
        return max(*self._runs.values(), self._count if self._echoes else 0)

    @property
    def is_echo(self) -> bool:
        """All that was said is the end of what stands above."""
        return self._count > 0 and any(not left for left in self._echoes)

    def add(self, line: str) -> int:
        """How many lines, this one included, repeat what was said already: none until it is sure."""
        self._count += 1
        if not is_trivial(line, self._language) or self._count > 1:
            self._echoes = [left[1:] for left in self._echoes if left and left[0] == line]
        else:
            self._echoes = []
        self._lines = [*self._lines, line][-2 * LONGEST_CYCLE :]
        for cycle, run in self._runs.items():
            same = len(self._lines) > cycle and self._lines[-1 - cycle] == line
            self._runs[cycle] = run + 1 if same else 0
        for cycle, run in self._runs.items():
            if run >= max(cycle, 2) and not all(is_trivial(each, self._language) for each in self._lines[-cycle:]):
                return run
        return 0
