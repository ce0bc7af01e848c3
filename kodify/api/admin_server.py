"""`/api/v1/admin/running`, `/settings` and `/engines`: what this replica does now, and how it was set up."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kodify import __version__
from kodify.api.admin import answer, note
from kodify.api.running import Running
from kodify.api.users import shown_moment
from kodify.engines import Engines, Served
from kodify.errors import EndedError, KodifyError, NotFoundError, UnavailableError
from kodify.settings import Settings


async def running(request: Request) -> Response:
    """The oldest first."""
    found = sorted(_running(request), key=lambda one: one.asked.since)
    return answer({"replica": socket.gethostname(), "data": [_told(one) for one in found]})


async def cancel(request: Request) -> Response:
    """Whoever waits for the answer is told that an administrator has ended it."""
    wanted = request.path_params["id"]
    found = next((one for one in _running(request) if one.asked.id == wanted), None)
    if found is None:
        raise NotFoundError("No such request is running here: it has ended, or another replica has it.")
    whose = found.asked.user or found.asked.address or "nobody known"
    await note(request, "cancel", whose, f"{found.asked.route}, request {found.asked.request_id}")
    found.cut(EndedError())
    return Response(status_code=204)


async def settings(request: Request) -> Response:
    """Each variable as it is in effect, secrets masked, and what config.yml says."""
    own: Settings = request.app.state.settings
    values = own.shown()
    told = [
        {
            "name": field.alias,
            "value": values[field.alias],
            "is_set": name in own.model_fields_set,
            "description": field.description,
        }
        for name, field in Settings.model_fields.items()
        if field.alias is not None
    ]
    return answer({"version": __version__, "data": told, "config.yml": own.file.shown()})


async def engines(request: Request) -> Response:
    """How each of them is, and how much it has to do."""
    found: Engines = request.app.state.engines
    return answer({"data": [await _engine(served, bool(request.app.state.ready)) for served in found.all]})


def _running(request: Request) -> Iterator[Running]:
    return (one for one in list(request.app.state.running) if isinstance(one, Running))


def _told(one: Running) -> dict[str, Any]:
    asked, shown = one.asked, one.shown()
    seconds = time.monotonic() - asked.since
    return {
        "id": asked.id,
        "request_id": asked.request_id,
        "user": asked.user,
        "address": asked.address,
        "route": asked.route,
        "model": shown.model,
        "streams": shown.streams,
        "since": shown_moment(datetime.now(UTC) - timedelta(seconds=seconds)),
        "running_ms": round(seconds * 1e3),
        "prompt_tokens": shown.prompt_tokens,
        "completion_tokens": shown.completion_tokens,
    }


async def _engine(served: Served, ready: bool) -> dict[str, Any]:
    """One that was left out, or is being loaded, tells no more than its name."""
    told: dict[str, Any] = {"names": [served.label], "task": served.task, "state": "loading", "error": served.error}
    if not served.runs:
        return {**told, "state": "left out"}
    try:
        facts = served.facts
    except UnavailableError:
        return told
    state, error = ("running", None) if ready else ("loading", None)
    try:
        await served.engine.check_health()
    except KodifyError as ill:
        state, error = "not working", ill.message
    return {
        **told,
        "names": list(facts.names),
        "state": state,
        "error": error,
        "path": facts.path,
        "device": facts.device,
        "context_tokens": facts.context_tokens,
        "kv_cache_tokens": facts.kv_cache_tokens,
        "started_at": shown_moment(datetime.fromtimestamp(facts.started_at, UTC)),
        "adapter_of": facts.parent,
        "is_here": served.is_here,
        "running": served.engine.running(),
        "waiting": served.line.waiting,
        "details": facts.details,
    }
