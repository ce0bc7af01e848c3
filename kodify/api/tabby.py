"""Tabby's clients: completions with segments on `/v1/completions`, health, settings, events."""

from __future__ import annotations

import os
import platform
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from kodify import __version__
from kodify.api.asking import Ask
from kodify.api.body import read_json
from kodify.api.fill import deadline_s, fill, temperature, tokens
from kodify.api.models import completion_engine, find_engine, preset_of, ready_engines
from kodify.api.shapes import read
from kodify.api.snippets import with_repository
from kodify.api.streaming import WholeEncoder
from kodify.autocomplete.desk import Desk
from kodify.engine.base import Delta, Job
from kodify.errors import BadRequestError
from kodify.journal.acceptance import Event
from kodify.preprocess.hole import Hole, make_hole, short_name
from kodify.preprocess.languages import find_language
from kodify.preprocess.presets import Preset
from kodify.protocol import tabby

# Clients switch features off below v0.27.0 of the server that they know.
SPOKEN_VERSION = "v0.32.0"


def is_tabby(body: dict[str, Any]) -> bool:
    """OpenAI's bodies always have a prompt."""
    return "prompt" not in body and any(name in body for name in ("segments", "debug_options", "language"))


class TabbyAnswer(WholeEncoder):
    def __init__(self, job: Job, debug: dict[str, Any] | None) -> None:
        super().__init__()
        self._job = job
        self._debug = debug
        self._text = ""

    def emit(self, delta: Delta) -> None:
        if delta.finish_reason is None or self.finished:
            return
        self._text = delta.text
        self.completion_tokens += len(delta.token_ids)
        self._keep(delta)
        self._answer()

    def whole(self, choices: Any) -> dict[str, Any]:
        return tabby.completion(self._job.id, self._text, self._debug)


async def complete(request: Request, body: dict[str, Any]) -> Response:
    engine = completion_engine(request)
    preset = preset_of(request, engine)
    wanted = read(body, tabby.CompletionRequest)
    debug = wanted.debug_options or tabby.DebugOptions()
    hole, snippets = _hole(wanted, debug)
    if not debug.disable_retrieval_augmented_code_completion:
        hole = await with_repository(request, hole)
        snippets = [*snippets, *(tabby.Snippet(one.path, one.text) for one in hole.context[len(snippets) :])]
    ask = Ask(
        hole=hole,
        max_tokens=tokens(preset, engine, None),
        sampling=_sampling(preset, wanted),
        user=wanted.user,
        deadline_s=deadline_s(request, wanted.deadline_ms),
        raw=debug.raw_prompt is not None,
        keeps=not debug.return_prompt,
    )
    told = [msgspec.to_builtins(snippet) for snippet in snippets] if debug.return_snippets else None

    def make(job: Job) -> TabbyAnswer:
        prompt = engine.vocabulary.decode(job.prompts[0].token_ids) if debug.return_prompt else None
        return TabbyAnswer(job, tabby.debug_data(told, prompt))

    def say(completion_id: str, text: str) -> dict[str, Any]:
        return tabby.completion(completion_id, text, tabby.debug_data(told, None))

    return await fill(request, engine, ask, make, say)


def _hole(wanted: tabby.CompletionRequest, debug: tabby.DebugOptions) -> tuple[Hole, list[tabby.Snippet]]:
    if debug.raw_prompt is not None:
        return Hole(debug.raw_prompt, ""), []
    segments = wanted.segments
    if segments is None:
        raise BadRequestError("segments or debug_options.raw_prompt is required.", param="segments")
    snippets = segments.snippets
    hole = make_hole(
        segments.prefix,
        segments.suffix or "",
        find_language(wanted.language, short_name(segments.filepath)),
        path=segments.filepath,
        repository=segments.git_url,
        context=((snippet.filepath, snippet.body) for snippet in snippets),
    )
    return hole, snippets


def _sampling(preset: Preset | None, wanted: tabby.CompletionRequest) -> dict[str, Any]:
    sampling: dict[str, Any] = {"temperature": temperature(preset, wanted.temperature)}
    if wanted.seed is not None:
        sampling["seed"] = wanted.seed % 2**63  # a client's may be any 64 bits
    return sampling


async def health(request: Request) -> Response:
    engine = completion_engine(request)
    await engine.check_health()
    build = {
        "build_date": "",
        "build_timestamp": "",
        "git_sha": f"kodify-{__version__}",
        "git_describe": SPOKEN_VERSION,
    }
    chat = find_engine(request, None).facts.names[0]
    found = tabby.health(engine.facts.names[0], chat, engine.facts.device, build)
    host = {"arch": platform.machine(), "cpu_info": platform.processor() or platform.machine()}
    return _json({**found, **host, "cpu_count": os.cpu_count() or 1})


async def server_setting(request: Request) -> Response:
    """Editors behind a firewall report to nobody outside."""
    return _json({"disable_client_side_telemetry": True})


async def models(request: Request) -> Response:
    names = [name for one in ready_engines(request).running if one.task == "generate" for name in one.facts.names]
    return _json({"completion": names, "chat": names})


async def events(request: Request) -> Response:
    body = await read_json(request)
    desk: Desk = request.app.state.desk
    kind = body.get("select_kind") or request.query_params.get("select_kind")
    event = read({**body, "select_kind": kind}, Event)
    desk.acceptance.take(event, request.state.principal.name)
    return Response()


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
