"""`POST /v1/chat/completions`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kodify.api.body import read_json
from kodify.api.chat_answer import ChatStream, ChatWhole
from kodify.api.grounding import ground
from kodify.api.middleware import new_id
from kodify.api.models import find_engine, refuse_if_full
from kodify.api.streaming import Encoder, respond
from kodify.preprocess import ranges


async def create(request: Request) -> Response:
    body = await read_json(request)
    engine = find_engine(request, body.get("model"))
    refuse_if_full(request, engine)
    sources = await ground(request, body, engine)
    wanted = engine.parse_chat(body)
    ranges.check(wanted, request.app.state.settings.max_n)
    job = await engine.chat_job(wanted, f"chatcmpl-{new_id()}")
    encoder: Encoder
    if wanted.stream:
        options = wanted.stream_options
        encoder = ChatStream(
            job,
            include_usage=bool(options and options.include_usage),
            continuous_usage=bool(options and options.continuous_usage_stats),
            sources=sources,
        )
    else:
        encoder = ChatWhole(job, sources)
    return respond(request, engine, job, encoder)
