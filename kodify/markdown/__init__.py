"""Markdown that a model wrote into HTML that a page may show, whole or while it is being written."""

from __future__ import annotations

from kodify.markdown.html import render
from kodify.markdown.scribe import QUICK_CHARACTERS, Scribe
from kodify.markdown.settling import Settled, Settling

__all__ = ["QUICK_CHARACTERS", "Scribe", "Settled", "Settling", "render"]
