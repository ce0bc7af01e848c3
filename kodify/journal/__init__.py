"""Who asked what and what was answered (LOGS=True)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kodify import __version__
from kodify.db.journal import JournalWriter
from kodify.db.journal_access import JournalAccess
from kodify.db.journal_search import Wanted
from kodify.db.places import journal_database
from kodify.journal.acceptance import Acceptance, Completion, Event
from kodify.journal.base import Entry
from kodify.journal.journal import Journal
from kodify.journal.record import CUT, LEFT, Record, Silent
from kodify.journal.secrets import Mask
from kodify.metrics import CompletionMetrics, JournalMetrics, Metrics, plain_language
from kodify.settings import Settings

__all__ = [
    "CUT",
    "LEFT",
    "Acceptance",
    "Completion",
    "Entry",
    "Event",
    "Journal",
    "JournalAccess",
    "Record",
    "Silent",
    "Wanted",
    "build",
    "build_acceptance",
    "build_access",
    "build_writer",
]


def build(settings: Settings, metrics: Metrics) -> Journal | None:
    """None where LOGS is off."""
    if not settings.logs:
        return None
    api_key = settings.vllm_api_key
    return Journal(
        build_writer(settings),
        Path(settings.data_path) / "journal",
        {"version": __version__, **settings.shown(), "config.yml": settings.file.shown()},
        JournalMetrics(metrics.registry),
        limit_bytes=settings.logs_spool_bytes,
        with_content=settings.logs_content == "full",
        row_days=settings.logs_retention_days,
        content_days=settings.logs_content_days,
        mask=Mask([api_key.get_secret_value()] if api_key is not None else []),
    )


def build_acceptance(
    metrics: Metrics, journal: Journal | None, language: Callable[[str], str] = plain_language
) -> Acceptance:
    """`language`: the name by which a client's name of one is counted."""
    completions = CompletionMetrics(metrics.registry, language)
    return Acceptance(completions, journal.events if journal is not None else None)


def build_writer(settings: Settings, *, migrate: bool | None = None) -> JournalWriter:
    return JournalWriter(journal_database(settings), migrate=settings.run_migrations if migrate is None else migrate)


def build_access(settings: Settings) -> JournalAccess | None:
    """For who asks it from a running server; None where LOGS is off."""
    return JournalAccess(journal_database(settings)) if settings.logs else None
