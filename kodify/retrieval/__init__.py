"""Retrieval: collections of documents and code, and what is found in them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from kodify.engine.base import EmbeddingEngine
from kodify.engines import Engines
from kodify.errors import NotFoundError
from kodify.retrieval.library import Library
from kodify.retrieval.store import Store
from kodify.settings import Settings

__all__ = ["Library", "build", "build_store"]


def build(settings: Settings, engines: Engines) -> Library:
    """Nothing is opened before it is needed."""

    def embedder(model: str | None) -> EmbeddingEngine:
        if model is None:
            return cast(EmbeddingEngine, engines.default("embed").engine)
        found = engines.find(model, "embed")
        if found is None:
            raise NotFoundError(f"config.yml's retrieval names the model {model}, which is not served.", param="model")
        return cast(EmbeddingEngine, found.engine)

    return Library(settings.file.retrieval, build_store(settings), embedder)


def build_store(settings: Settings) -> Store:
    url, key = settings.qdrant_url, settings.qdrant_api_key
    return Store(
        url.get_secret_value() if url is not None else None,
        key.get_secret_value() if key is not None else None,
        Path(settings.data_path) / "qdrant",
    )
