"""`/api/v1/collections`: searched by users, made and filled by administrators."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from kodify.api.body import read_json
from kodify.api.models import ready_engines
from kodify.api.shapes import read
from kodify.api.users import actor
from kodify.auth import Administration, Principal
from kodify.errors import BadRequestError, NotFoundError
from kodify.protocol.retrieval import Checkout, NewCollection, SearchRequest
from kodify.retrieval import Library
from kodify.retrieval.access import may_search
from kodify.retrieval.base import About, Held, Origin, Where
from kodify.retrieval.walking import has_controls

MOST_PATH = 1024


async def show_all(request: Request) -> Response:
    """Those that the user may search."""
    library = library_of(request)
    found = [name for name in await library.names() if may(request, name)]
    data = []
    for name in found:
        with contextlib.suppress(NotFoundError):  # it was deleted meanwhile
            data.append(_shown(request, await library.about(name), await library.count(name)))
    return _json({"data": data})


async def make(request: Request) -> Response:
    wanted = read(await read_json(request), NewCollection)
    ready_engines(request)
    about = await library_of(request).make(wanted.name)
    await _note(request, "make collection", wanted.name, f"for {about.model}")
    return _json(_shown(request, about, 0))


async def show(request: Request) -> Response:
    """Its status: what it has, and what is on its way."""
    library, name = library_of(request), _name(request)
    held = await library.held(name)
    shown = _shown(request, await library.about(name), 0)
    return await asyncio.to_thread(lambda: _json({**shown, **_counted(held), "running": library.running[name]}))


def _counted(held: Mapping[str, Held]) -> dict[str, Any]:
    """`stale`: documents that have to be put again."""
    skipped = {path: one.skipped for path, one in held.items() if one.skipped is not None}
    return {
        "documents": len(held) - len(skipped),
        "pieces": sum(one.pieces for one in held.values()),
        "skipped": skipped,
        "stale": sum(not one.digest for one in held.values()),
    }


async def note(request: Request) -> Response:
    wanted = read(await read_json(request), Checkout)
    name = _name(request)
    await library_of(request).note(name, wanted.repository, wanted.commit)
    await _note(request, "fill collection", name, " ".join(filter(None, (wanted.repository, wanted.commit))) or None)
    return Response(status_code=204)


async def drop(request: Request) -> Response:
    name = _name(request)
    await library_of(request).drop(name)
    await _note(request, "delete collection", name)
    return Response(status_code=204)


async def documents(request: Request) -> Response:
    """All that it has, with digests by which a client knows what has changed."""
    held = await library_of(request).held(_name(request))
    return await asyncio.to_thread(lambda: _json({"data": [_document(path, one) for path, one in held.items()]}))


def _document(path: str, held: Held) -> dict[str, Any]:
    return {
        "path": path,
        "digest": held.digest,
        "pieces": held.pieces,
        "skipped": held.skipped,
        "source": held.source,
    }


async def put(request: Request) -> Response:
    """The body is the document, as it is."""
    ready_engines(request)
    name, path = _name(request), _path(request)
    asked = request.query_params
    origin = Origin(asked.get("commit"), asked.get("repository"), asked.get("origin"))
    done = await library_of(request).put(name, path, await request.body(), origin, asked.get("source"))
    await _note(request, "upload", name, path)
    return _json({"path": path, "pieces": done.pieces, "skipped": done.skipped})


async def remove(request: Request) -> Response:
    name, path = _name(request), _path(request)
    await library_of(request).remove(name, path)
    await _note(request, "remove", name, path)
    return Response(status_code=204)


async def search(request: Request) -> Response:
    wanted = read(await read_json(request), SearchRequest)
    name = _name(request)
    refuse_strangers(request, [name])
    if wanted.by != "words":
        ready_engines(request)
    found = await library_of(request).search(
        [name],
        wanted.query,
        k=wanted.k,
        threshold=wanted.threshold,
        where=Where(wanted.path, wanted.language),
        by=wanted.by,
    )
    return _json({"data": [{**passage.source(), "text": passage.text} for passage in found]})


def library_of(request: HTTPConnection) -> Library:
    library: Library = request.app.state.library
    return library


def may(request: HTTPConnection, name: str) -> bool:
    principal: Principal = request.state.principal
    entry = request.app.state.settings.file.retrieval
    return may_search(entry, name, principal.name, is_administrator="admin" in principal.scopes)


def refuse_strangers(request: HTTPConnection, names: list[str]) -> None:
    """Raises NotFoundError, as for a collection that is not there: who may not search it need not know of it."""
    for name in names:
        if not may(request, name):
            raise NotFoundError(f"There is no collection {name}.", param="collection")


def _shown(request: Request, about: About, pieces: int) -> dict[str, Any]:
    listed = request.app.state.settings.file.retrieval.collections.get(about.name)
    return {
        "name": about.name,
        "title": listed.title if listed is not None and listed.title else about.name,
        "model": about.model,
        "repository": about.repository,
        "commit": about.commit,
        "pieces": pieces,
        "searchable": library_of(request).can_search(about),
    }


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _path(request: Request) -> str:
    path: str = request.path_params["path"]
    parts = path.split("/")
    if len(path) > MOST_PATH or any(part in ("", ".", "..") for part in parts) or has_controls(path):
        raise BadRequestError("A document's path has folders and a name, without . and .. .", param="path")
    return path


async def _note(request: Request, act: str, name: str, detail: str | None = None) -> None:
    administration: Administration | None = request.app.state.administration
    if administration is not None:
        await asyncio.shield(administration.note(actor(request), act, name, detail))


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
