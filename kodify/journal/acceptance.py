"""What became of completions: editors tell what they showed, what was accepted and what was dismissed."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from kodify.db.acceptance import Kind, ViewEvent
from kodify.journal.event_store import EventStore
from kodify.metrics import CompletionKind, CompletionMetrics

log = logging.getLogger(__name__)

MOST_REMEMBERED = 20_000
LONGEST_NAME = 256
LARGEST = 2**31 - 1
SELECT_KINDS = ("line", "block")
_COUNTED: dict[Kind, CompletionKind] = {"view": "shown", "select": "accepted", "dismiss": "dismissed"}


@dataclass(frozen=True, slots=True)
class Completion:
    """What is remembered of an answer's choice that events may come for."""

    username: str | None
    language: str
    model: str
    characters: int
    lines: int


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """`elapsed`: milliseconds since the completion was shown. A `select_kind` that is not known is none."""

    type: Kind
    completion_id: str
    choice_index: int = 0
    view_id: str | None = None
    elapsed: int | float | None = None
    select_kind: str | None = None


class Acceptance:
    """One for each app. Without a `store` events are only counted."""

    def __init__(self, metrics: CompletionMetrics, store: EventStore | None) -> None:
        self._metrics = metrics
        self._store = store
        self._completions: OrderedDict[str, tuple[Completion, ...]] = OrderedDict()
        self._views: OrderedDict[tuple[str, int, str], set[Kind]] = OrderedDict()
        if store is not None:
            metrics.watch(dropped=lambda: store.dropped)

    def remember(self, completion_id: str, choices: Sequence[Completion]) -> None:
        """A completion was answered; its choices have the same language and model."""
        if not choices:
            return
        self._metrics.count("answered", choices[0].language, choices[0].model)
        _keep(self._completions, completion_id, tuple(choices))

    def take(self, event: Event, username: str | None) -> None:
        """Never waits, and never raises."""
        try:
            self._take(event, username)
        except Exception:
            log.exception("a bug: an event of a completion is lost")

    def _take(self, event: Event, username: str | None) -> None:
        choices = self._completions.get(event.completion_id, ())
        whole = choices[0] if choices else None
        choice = choices[event.choice_index] if 0 <= event.choice_index < len(choices) else None
        key = (_clean(event.completion_id), _bounded(event.choice_index), _clean(event.view_id or ""))
        if self._is_new(key, event.type):
            model, language = (whole.model, whole.language) if whole is not None else (None, None)
            self._metrics.count(_COUNTED[event.type], language, model)
        if self._store is None:
            return
        user = username if username is not None or whole is None else whole.username
        self._store.put(
            ViewEvent(
                *key,
                event.type,
                datetime.now(UTC),
                username=_clean(user) if user is not None else None,
                language=_clean(whole.language) if whole is not None else None,
                model=_clean(whole.model) if whole is not None else None,
                elapsed_ms=_bounded(event.elapsed) if event.elapsed is not None else None,
                select_kind=event.select_kind if event.select_kind in SELECT_KINDS else None,
                characters=choice.characters if choice is not None else None,
                lines=choice.lines if choice is not None else None,
            )
        )

    def _is_new(self, key: tuple[str, int, str], kind: Kind) -> bool:
        """Whether none of this kind has come for the view."""
        kinds = self._views.get(key)
        if kinds is None:
            _keep(self._views, key, kinds := set())
        if kind in kinds:
            return False
        kinds.add(kind)
        return True


def _keep(known: OrderedDict[Any, Any], key: object, value: object) -> None:
    """Among the last ones."""
    known[key] = value
    if len(known) > MOST_REMEMBERED:
        known.popitem(last=False)


def _clean(text: str) -> str:
    """As PostgreSQL can hold it."""
    return text[:LONGEST_NAME].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _bounded(number: float) -> int:
    return int(min(max(0, number), LARGEST))
