"""What an app remembers of completions: those that run, those that were just given, those that editors tell of."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from kodify.autocomplete.answers import Answers
from kodify.autocomplete.newest import Newest
from kodify.journal.acceptance import Acceptance, Completion
from kodify.metrics import Metrics


class Desk:
    """One for each app."""

    def __init__(self, documents: int, metrics: Metrics, acceptance: Acceptance) -> None:
        """`documents`: how many to keep answers of."""
        self.newest = Newest()
        self.acceptance = acceptance
        self._answers = Answers(documents)
        self._metrics = metrics

    def find(self, about: Hashable, prefix: str) -> str | None:
        text = self._answers.find(about, prefix)
        if text is not None:
            self._metrics.completions_cached.inc()
        return text

    def keep(self, about: Hashable, prefix: str, text: str) -> None:
        self._answers.keep(about, prefix, text)

    def ended(self, *, late: bool, superseded: bool) -> None:
        if late:
            self._metrics.completions_late.inc()
        if superseded:
            self._metrics.completions_superseded.inc()

    def answered(self, completion_id: str, name: str | None, language: str, model: str, texts: Sequence[str]) -> None:
        self.acceptance.remember(
            completion_id,
            [Completion(name, language, model, len(text), text.count("\n") + 1 if text else 0) for text in texts],
        )
