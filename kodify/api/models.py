"""`GET /v1/models`, and a request's model name to its engine."""

from __future__ import annotations

from typing import Any, cast

import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from kodify.auth import Principal
from kodify.engine.base import EmbeddingEngine, Engine
from kodify.engines import Engines, Task
from kodify.errors import NotFoundError, UnavailableError
from kodify.preprocess.presets import Preset
from kodify.protocol import openai


async def show(request: Request) -> Response:
    found = [(served.facts, served.task) for served in ready_engines(request).running]
    return Response(orjson.dumps(openai.models(found)), media_type="application/json")


def ready_engines(request: HTTPConnection) -> Engines:
    state = request.app.state
    if not state.ready:
        raise UnavailableError("The model is still loading. Please try again later")
    engines: Engines = state.engines
    return engines


def find_engine(request: HTTPConnection, model: Any) -> Engine:
    """The engine that generates for `model`; an empty name is the default's. What is no name at all is left to the
    request's validation."""
    return cast(Engine, _find(request, model, "generate"))


def find_embedder(request: Request, model: Any) -> EmbeddingEngine:
    return cast(EmbeddingEngine, _find(request, model, "embed"))


def completion_engine(request: Request, model: Any = None) -> Engine:
    """For an editor's completion, which may name a model; a name that is not served here means none."""
    engines = ready_engines(request)
    served = engines.find(model, "generate") if isinstance(model, str) else None
    return cast(Engine, (served or engines.for_completions()).engine)


def preset_of(request: Request, engine: Engine) -> Preset | None:
    engines: Engines = request.app.state.engines
    return engines.preset_of(engine)


def refuse_if_full(request: HTTPConnection, engine: Engine, *, is_quick: bool = False) -> None:
    """Before work is spent on what would be refused. Raises UnavailableError where too much waits for the engine."""
    engines: Engines = request.app.state.engines
    if (line := engines.line_of(engine)) is not None:
        line.refuse_if_full(who_asks(request), is_quick=is_quick)


def who_asks(request: HTTPConnection) -> str:
    """Whose share of the engine a request takes: its user's, or its address's where users have no names."""
    principal: Principal = request.state.principal
    client = request.client
    return principal.name or (client.host if client is not None else "")


def _find(request: HTTPConnection, model: Any, task: Task) -> Engine | EmbeddingEngine:
    engines = ready_engines(request)
    if not isinstance(model, str) or not model:
        return engines.default(task).engine
    served = engines.find(model, task)
    if served is None:
        raise NotFoundError(f'The model "{model[:200]}" does not exist.', param="model")
    return served.engine
