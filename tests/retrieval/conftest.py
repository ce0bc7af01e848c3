"""A library on an embedder that knows words, in a folder of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodify.config_file import RetrievalEntry
from kodify.engine.scripted import WordEmbedder
from kodify.retrieval.library import Library
from kodify.retrieval.store import Store


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
async def library(tmp_path: Path, embedder: WordEmbedder) -> AsyncIterator[Library]:
    found = Library(RetrievalEntry(), Store(None, None, tmp_path / "qdrant"), lambda model: embedder)
    yield found
    await found.close()
