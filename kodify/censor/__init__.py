"""The censor: patterns and a moderation endpoint before prompts and answers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from kodify.censor.censor import Censor
from kodify.censor.moderation import Moderation
from kodify.censor.patterns import read_patterns
from kodify.censor.screen import REASON, Screen
from kodify.config_file import CensorEntry

__all__ = ["REASON", "Censor", "Screen", "build"]


def build(entry: CensorEntry | None, registry: CollectorRegistry) -> Censor | None:
    """None where nothing is configured. Raises ConfigError for a pattern, or a file of them, that can't be used."""
    if entry is None:
        return None
    token = entry.token.get_secret_value() if entry.token is not None else None
    return Censor(
        read_patterns(entry.patterns),
        Moderation(entry.url, token, entry.timeout_s) if entry.url is not None else None,
        registry,
        checks_prompts=entry.check != "answers",
        checks_answers=entry.check != "prompts",
        open_on_failure=entry.open_on_failure,
    )
