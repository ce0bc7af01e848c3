"""`GET /v1/models`, and a request's model name to its engine."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kodify.engine.base import Engine
from kodify.errors import NotFoundError, UnavailableError
from kodify.protocol import openai


async def show(request: Request) -> Response:
    return Response(orjson.dumps(openai.models(ready_engine(request).facts)), media_type="application/json")


def ready_engine(request: Request) -> Engine:
    state = request.app.state
    if not state.ready:
        raise UnavailableError("The model is still loading. Please try again later")
    engine: Engine = state.engine
    return engine


def find_engine(request: Request, model: Any) -> Engine:
    """The engine that serves `model`; an empty name is the default's. What is no name at all is left to the request's
    validation."""
    engine = ready_engine(request)
    if isinstance(model, str) and model and model not in engine.facts.names:
        raise NotFoundError(f'The model "{model[:200]}" does not exist.', param="model")
    return engine
