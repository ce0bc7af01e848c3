"""One thing that was looked at, and how it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    state: Literal["ok", "warning", "failed"]
    about: str
    sentence: str


def ok(about: str, sentence: str) -> Finding:
    return Finding("ok", about, sentence)


def warning(about: str, sentence: str) -> Finding:
    return Finding("warning", about, sentence)


def failed(about: str, sentence: str) -> Finding:
    return Finding("failed", about, sentence)
