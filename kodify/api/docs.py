"""`GET /openapi.json`, and `GET /docs` for people."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kodify.api import docs_page, openapi
from kodify.api.models import ready_engines
from kodify.engine.base import DescribedEngine
from kodify.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Document:
    json: bytes
    page: bytes


async def show_json(request: Request) -> Response:
    return Response((await _document(request)).json, media_type="application/json")


async def show(request: Request) -> Response:
    return Response((await _document(request)).page, media_type="text/html", headers=docs_page.HEADERS)


async def _document(request: Request) -> Document:
    """Made once, when the engines run, for they tell what they take: 503 until then, 404 where DOCS is off."""
    state = request.app.state
    if not state.settings.docs:
        raise NotFoundError()
    engines = ready_engines(request)
    if state.document is None:
        found = (served.engine for served in engines.running if isinstance(served.engine, DescribedEngine))
        routes, engine = request.app.routes, next(found, None)
        state.document = asyncio.create_task(asyncio.to_thread(_make, routes, engine))
    document: Document = await asyncio.shield(state.document)  # others wait for it too
    return document


def _make(routes: Any, engine: DescribedEngine | None) -> Document:
    built = openapi.build(routes, openapi.engine_shapes(engine))
    return Document(orjson.dumps(built), docs_page.render(built).encode())
