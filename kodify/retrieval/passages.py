"""Points of the store as passages that were found: how near each is, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kodify.retrieval.base import About, Origin, Passage
from kodify.retrieval.links import link

if TYPE_CHECKING:
    import numpy as np


def unit(row: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    import numpy as np  # the engine's

    length = float(np.linalg.norm(row))
    return row / length if length else row


def relevance_of(cosine: float) -> float:
    return min(1.0, max(0.0, (1 + cosine) / 2))


def origin_fields(origin: Origin) -> dict[str, str]:
    """What is kept of it with each piece."""
    told = {"commit": origin.commit, "repository": origin.repository, "origin": origin.path}
    return {name: value for name, value in told.items() if value is not None}


def passage_of(
    about: About, payload: dict[str, Any], relevance: float, score: float, links: Mapping[str, str]
) -> Passage:
    origin = Origin(payload.get("commit"), payload.get("repository"), payload.get("origin"))
    if origin.path is None:
        origin = replace(origin, repository=about.repository, path=payload["path"])
    language, start, end = payload.get("language", ""), payload.get("start", 0), payload.get("end", 0)
    return Passage(
        about.name,
        payload["path"],
        start,
        end,
        payload.get("title", ""),
        language,
        payload.get("text", ""),
        relevance,
        score,
        origin.commit,
        link(links, origin, language, start, end),
    )
