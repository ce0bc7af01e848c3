"""LoRA adapters, loaded and unloaded by an administrator while Kodify serves. A restart forgets them: those that are
to stay belong in config.yml."""

from __future__ import annotations

import re

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kodify.api.body import read_json
from kodify.api.models import ready_engines
from kodify.api.shapes import read
from kodify.api.users import actor
from kodify.auth import Administration
from kodify.errors import BadRequestError
from kodify.protocol import openai
from kodify.protocol.adapters import LoadAdapter, UnloadAdapter

NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")


async def load(request: Request) -> Response:
    """Answers with the model that it has become."""
    wanted = read(await read_json(request), LoadAdapter)
    if not NAME.fullmatch(wanted.lora_name):
        raise BadRequestError("lora_name must be 1 to 200 characters without blanks.", param="lora_name")
    served = await ready_engines(request).load_adapter(wanted.lora_name, wanted.lora_path, wanted.model)
    await _note(request, "load adapter", wanted.lora_name, wanted.lora_path)
    return _json(openai.model(wanted.lora_name, served.facts))


async def unload(request: Request) -> Response:
    """Answers when the last of its requests has ended; new ones are refused from the start."""
    name = read(await read_json(request), UnloadAdapter).lora_name
    await ready_engines(request).unload_adapter(name)
    await _note(request, "unload adapter", name)
    return _json({"id": name, "object": "model", "deleted": True})


async def _note(request: Request, act: str, name: str, detail: str | None = None) -> None:
    administration: Administration | None = request.app.state.administration
    if administration is not None:
        await administration.note(actor(request), act, name, detail)


def _json(content: dict[str, object]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
