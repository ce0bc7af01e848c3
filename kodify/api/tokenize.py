"""`POST /tokenize` and `/detokenize`: text into the model's tokens, and back."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kodify.api.body import read_json
from kodify.api.served import Voice, respond


async def create(request: Request) -> Response:
    """`prompt`, or `messages` with what goes with them in a chat."""
    return respond(request, "tokenize", await read_json(request), Voice())


async def revert(request: Request) -> Response:
    """`tokens`."""
    return respond(request, "detokenize", await read_json(request), Voice())
