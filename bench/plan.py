"""Owns what is measured: the loads, the cells (a load at a concurrency and a pace), each engine's list of cells."""

from dataclasses import dataclass
from enum import StrEnum

ONE_LENGTH = (1.0,)
FIVE_LENGTHS = (0.75, 1.0, 1.25, 0.9, 1.1)


class EngineKind(StrEnum):
    DOUBLE = "double"
    NANO = "nano"


@dataclass(frozen=True)
class Load:
    """One kind of request. Answers take the `length_shares` of `answer_tokens` in turn: with several, streams end in
    bunches rather than all at one step, and new requests come in bunches too."""

    name: str
    title: str
    path: str
    prompt_tokens: int
    answer_tokens: int
    length_shares: tuple[float, ...] = ONE_LENGTH
    streamed: bool = False
    fill_in_the_middle: bool = False
    served: bool = True

    def max_tokens(self, position: int) -> int:
        return round(self.answer_tokens * self.length_shares[position % len(self.length_shares)])


# The question; the system message, about as long again, is the same for all.
CHAT = Load("chat", "streamed chat", "/v1/chat/completions", 60, 128, FIVE_LENGTHS, streamed=True)
FIM = Load("fim", "whole fill-in-the-middle completion", "/v1/completions", 1000, 32, fill_in_the_middle=True)
WHOLE = Load("whole", "whole answer of one token to a long prompt", "/v1/chat/completions", 1000, 1)
EMBED = Load("embed", "embeddings", "/v1/embeddings", 500, 0, served=False)


@dataclass(frozen=True)
class Cell:
    """A load at a concurrency; `step_ms` is the engine double's pace, None for a real engine."""

    load: Load
    concurrency: int
    step_ms: float | None = None

    @property
    def name(self) -> str:
        pace = "" if self.step_ms is None else f"@{self.step_ms:g}"
        return f"{self.load.name}:{self.concurrency}{pace}"

    def matches(self, pattern: str) -> bool:
        """Tell whether a pattern (`chat`, `chat:64` or `chat:64@10`) names this cell."""
        return pattern in (self.load.name, f"{self.load.name}:{self.concurrency}", self.name)


CELLS: dict[EngineKind, tuple[Cell, ...]] = {
    EngineKind.DOUBLE: (
        Cell(CHAT, 1, 10),
        Cell(CHAT, 16, 10),
        Cell(CHAT, 64, 10),
        Cell(CHAT, 128, 10),
        Cell(CHAT, 64, 1),
        Cell(FIM, 1, 2),
        Cell(FIM, 8, 2),
        Cell(FIM, 32, 2),
        Cell(WHOLE, 16, 1),
        Cell(EMBED, 16, 1),
    ),
    EngineKind.NANO: (
        Cell(CHAT, 1),
        Cell(CHAT, 16),
        Cell(CHAT, 64),
        Cell(CHAT, 128),
        Cell(FIM, 1),
        Cell(FIM, 8),
        Cell(FIM, 32),
        Cell(WHOLE, 16),
        Cell(EMBED, 16),
    ),
}


def select_cells(engine: EngineKind, patterns: list[str]) -> list[Cell]:
    """Return the engine's cells that any pattern names; all of them without patterns."""
    return [cell for cell in CELLS[engine] if not patterns or any(cell.matches(pattern) for pattern in patterns)]
