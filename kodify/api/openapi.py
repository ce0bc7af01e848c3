"""The routes, and the shapes that read their bodies, as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.routing import BaseRoute, Route

from kodify import __version__
from kodify.api.guard import Guarded
from kodify.api.operations import HOUSE, JSON, STREAM, Operation, operation_of
from kodify.engine.base import DescribedEngine
from kodify.protocol.bodies import SHAPES

Shapes = tuple[dict[str, Any], dict[str, Any]]

_PLACE = "#/components/schemas/"
_ERROR = {"description": "Refused.", "content": {JSON: {"schema": {"$ref": f"{_PLACE}Error"}}}}
_FIELDS = {
    "message": {"type": "string"},
    "type": {"type": "string"},
    "param": {"type": ["string", "null"]},
    "code": {"type": "integer"},
}
ERROR = {
    "type": "object",
    "description": "The one shape of errors.",
    "required": ["object", *_FIELDS, "error"],
    "properties": {
        "object": {"const": "error"},
        **_FIELDS,
        "error": {"type": "object", "required": list(_FIELDS), "properties": _FIELDS},
    },
}
REASONS = {
    400: "The body is wrong.",
    401: "No token, or a wrong one.",
    403: "Not for this user.",
    404: "There is no such thing here.",
    409: "It contradicts what there is.",
    413: "The body is too large.",
    422: "The form is wrong.",
    429: "Too often; Retry-After tells when again.",
    500: "A bug, or the engine failed.",
    503: "Not now; Retry-After tells when again.",
}
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A user's token, or the server's one token."},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same token."},
}


def build(routes: Iterable[BaseRoute], shapes: Shapes) -> dict[str, Any]:
    bodies, parts = dict(shapes[0]), dict(shapes[1])
    for kind, (shape, prefix) in HOUSE.items():
        bodies[kind], own = _struct(shape, prefix)
        parts |= own
    paths: dict[str, Any] = {}
    for route in routes:
        if not isinstance(route, Route) or not isinstance(guarded := route.endpoint, Guarded):
            continue
        for method in sorted((route.methods or set()) - {"HEAD"}):
            found = operation_of(method, route.path_format, guarded.handler)
            paths.setdefault(route.path_format, {})[method.lower()] = _operation(method, route, guarded, found, bodies)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Kodify", "version": __version__, "description": "A self-hosted coding assistant."},
        "paths": paths,
        "components": {"schemas": {"Error": ERROR, **parts}, "securitySchemes": SECURITY},
    }


def _operation(method: str, route: Route, guarded: Guarded, found: Operation, bodies: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{route.path_format}").strip("_"),
        "summary": found.summary,
        "tags": [found.group],
        "x-scope": guarded.scope,
        "security": [] if guarded.scope == "public" else [{name: []} for name in SECURITY],
    }
    if parameters := [*_path_parameters(route), *_query_parameters(found)]:
        told["parameters"] = parameters
    if content := _content(found, bodies):
        told["requestBody"] = {"required": True, "content": content}
    told["responses"] = {str(found.status): _answer(found)}
    for status in _errors(guarded, found):
        told["responses"][str(status)] = {**_ERROR, "description": REASONS[status]}
    return told


def _content(found: Operation, bodies: dict[str, Any]) -> dict[str, Any]:
    if found.form is not None:
        return {"application/x-www-form-urlencoded": {"schema": found.form.model_json_schema()}}
    if found.raw:
        return {"application/octet-stream": {}}
    schemas = [bodies[kind] for kind in found.bodies]
    if not schemas:
        return {}
    return {JSON: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def _answer(found: Operation) -> dict[str, Any]:
    if found.answers is None:
        return {"description": "Done."}
    schema: dict[str, Any] = {"type": "string"}
    if found.answers == JSON:
        schema = {"type": "object", **({"required": list(found.fields)} if found.fields else {})}
    content: dict[str, Any] = {found.answers: {"schema": schema}}
    if found.streams:
        content[STREAM] = {}
    return {"description": "The answer; a stream of events where stream is true." if found.streams else "The answer.",
            "content": content}  # fmt: skip


def _errors(guarded: Guarded, found: Operation) -> list[int]:
    statuses = {500, 503, *found.errors}
    if guarded.scope != "public":
        statuses.add(401)
    if guarded.scope == "admin":
        statuses.add(403)
    if guarded.limited:
        statuses.add(429)
    if found.bodies:
        statuses |= {400, 413}
    if found.form is not None:
        statuses |= {413, 422}
    return sorted(statuses)


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.param_convertors
    ]


def _query_parameters(found: Operation) -> list[dict[str, Any]]:
    if found.query is None:
        return []
    schema = found.query.model_json_schema()
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]


def engine_shapes(engine: DescribedEngine | None) -> Shapes:
    """The engine's, or the least where none tells its own."""
    if engine is not None:
        return engine.shapes(_PLACE + "{model}")
    bodies: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for kind, shape in SHAPES.items():
        bodies[kind], own = _struct(shape, "")
        parts |= own
    return bodies, parts


def _struct(shape: type[msgspec.Struct], prefix: str) -> Shapes:
    (schema,), parts = msgspec.json.schema_components([shape], ref_template=f"{_PLACE}{prefix}{{name}}")
    return schema, {prefix + name: part for name, part in parts.items()}
