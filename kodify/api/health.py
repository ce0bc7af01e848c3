"""Probes: `/health`, `/ready`, `/metrics`."""

from __future__ import annotations

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from kodify import __version__
from kodify.api.models import ready_engines
from kodify.errors import STOPPING, UnavailableError


async def health(request: Request) -> Response:
    """200 when every engine can work, 503 while they load and when one has stopped."""
    await ready_engines(request).check_health()
    return Response(orjson.dumps({"status": "ok", "version": __version__}), media_type="application/json")


async def ready(request: Request) -> Response:
    """Whether this replica should get requests."""
    if request.app.state.draining:
        raise UnavailableError(STOPPING)
    engines = ready_engines(request)
    await engines.check_health()
    first = next(engines.running).facts
    content = {
        "status": "ready",
        "models": engines.names,
        "device": first.device,
        "running": sum(served.engine.running() for served in engines.running),
        "waiting": sum(served.line.waiting for served in engines.here),
    }
    left_out = {served.label: served.error for served in engines.all if served.error is not None}
    if left_out:
        content["left_out"] = left_out
    return Response(orjson.dumps(content), media_type="application/json")


async def metrics(request: Request) -> Response:
    state = request.app.state
    engines = state.engines.metrics() + generate_latest(REGISTRY) if state.ready else b""
    content = state.metrics.render() + engines
    return Response(content, headers={"content-type": CONTENT_TYPE_LATEST})
