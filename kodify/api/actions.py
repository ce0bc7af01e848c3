"""`/v1/actions`: what can be done to code, and doing it."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kodify.actions import Actions, Subject, make_job
from kodify.api.action_answer import ActionResponse, ActionStream, ActionWhole
from kodify.api.body import read_json
from kodify.api.middleware import new_id
from kodify.api.models import find_engine, refuse_if_full
from kodify.api.shapes import read
from kodify.protocol.actions import ActionRequest


async def show(request: Request) -> Response:
    actions: Actions = request.app.state.actions
    content = {"object": "list", "data": [action.describe() for action in actions.all()]}
    return Response(orjson.dumps(content), media_type="application/json")


async def create(request: Request) -> Response:
    wanted = read(await read_json(request), ActionRequest)
    actions: Actions = request.app.state.actions
    action = actions.find(request.path_params["name"])
    subject = subject_of(wanted)
    engine = find_engine(request, wanted.model)
    refuse_if_full(request, engine)
    said = {"temperature": wanted.temperature, "top_p": wanted.top_p}
    body: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    body |= {"model": wanted.model or engine.facts.names[0], "stream": bool(wanted.stream)}
    job = await make_job(engine, action, subject, body, f"act-{new_id()}", wanted.max_tokens)
    make_answer = ActionStream if wanted.stream else ActionWhole
    return ActionResponse(request, engine, job, make_answer(job, action, subject))


def subject_of(wanted: ActionRequest) -> Subject:
    """Raises BadRequestError where there is nothing to work on."""
    selection = wanted.selection
    return Subject(
        wanted.code,
        wanted.language,
        wanted.path,
        None if selection is None else (selection.start_line, selection.end_line),
        wanted.instructions or "",
    )
