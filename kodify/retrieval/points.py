"""Points and conditions as Qdrant has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from kodify.retrieval.base import About, Point, Where
from kodify.retrieval.shelf import folders

OWNER = "kodify"  # in a collection's metadata: others' collections on the same server are left alone
DENSE, TERMS = "dense", "terms"
_NAMESPACE = UUID("6f6b6f64-6966-4079-8865-7472696576a1")


def point_id(path: str, number: int) -> str:
    return str(uuid5(_NAMESPACE, f"{path}\0{number}"))


def payload_of(path: str, number: int, of: int, digest: str, language: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "folders": folders(path), "number": number, "of": of, "digest": digest, "language": language,
            **more}  # fmt: skip


def point_of(point: Point) -> Any:
    from qdrant_client import models

    vectors: dict[str, Any] = {}
    if point.vector is not None:
        vectors[DENSE] = point.vector.tolist()
    if point.terms:
        vectors[TERMS] = models.SparseVector(indices=list(point.terms), values=list(point.terms.values()))
    return models.PointStruct(id=point.id, vector=vectors, payload=point.payload)


def condition_of(where: Where) -> Any:
    from qdrant_client import models

    wanted = {"folders": where.path.rstrip("/") if where.path is not None else None, "language": where.language}
    must = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value))
        for key, value in wanted.items()
        if value is not None
    ]
    return models.Filter(must=must) if must else None


def metadata_of(about: About) -> dict[str, Any]:
    return {OWNER: 1, "model": about.model, "size": about.size, "repository": about.repository, "commit": about.commit}


def about_of(name: str, metadata: dict[str, Any]) -> About | None:
    """None of a collection that is not Kodify's."""
    if OWNER not in metadata:
        return None
    return About(
        name,
        str(metadata["model"]),
        int(metadata["size"]),
        metadata.get("repository"),
        metadata.get("commit"),
    )


def queries_of(vector: Any, terms: dict[int, float]) -> dict[str, Any]:
    """None for what is not asked."""
    from qdrant_client import models

    sparse = models.SparseVector(indices=list(terms), values=list(terms.values())) if terms else None
    return {DENSE: vector.tolist() if vector is not None else None, TERMS: sparse}


def among(ids: Sequence[str]) -> Any:
    """A condition."""
    from qdrant_client import models

    return models.Filter(must=[models.HasIdCondition(has_id=list(ids))])
