"""Probes: `/health`, `/ready`, `/metrics`."""

from __future__ import annotations

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from kodify import __version__
from kodify.api.models import ready_engine


async def health(request: Request) -> Response:
    """200 when the engine can generate, 503 while it loads and when it has stopped."""
    await ready_engine(request).check_health()
    return Response(orjson.dumps({"status": "ok", "version": __version__}), media_type="application/json")


async def ready(request: Request) -> Response:
    """Whether this replica should get requests."""
    engine = ready_engine(request)
    await engine.check_health()
    facts = engine.facts
    content = {"status": "ready", "models": list(facts.names), "device": facts.device, "running": engine.running()}
    return Response(orjson.dumps(content), media_type="application/json")


async def metrics(request: Request) -> Response:
    state = request.app.state
    content = state.metrics.render() + (state.engine.metrics() if state.ready else b"")
    return Response(content, headers={"content-type": CONTENT_TYPE_LATEST})
