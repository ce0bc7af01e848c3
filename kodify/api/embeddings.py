"""`POST /v1/embeddings`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kodify.api.body import read_json
from kodify.api.middleware import new_id
from kodify.api.models import find_embedder
from kodify.api.record import record_of
from kodify.api.running import Shown, asked_by
from kodify.api.shapes import read
from kodify.censor import Censor
from kodify.engine.base import Embedded, EmbeddingEngine
from kodify.errors import BadRequestError, KodifyError
from kodify.protocol.embeddings import EmbeddingRequest, Input

MOST_INPUTS = 2048  # OpenAI's own limit
NUMBERS_AT_ONCE = 65_536  # written without letting the event loop go on: about a millisecond

MOST_SHOWN = 500  # characters of a body, in an error


async def create(request: Request) -> Response:
    body = await read_json(request)
    engine = find_embedder(request, body.get("model"))
    wanted = read(body, EmbeddingRequest)
    if wanted.input is None and wanted.text is None:
        raise _missing(body)
    inputs = _inputs(wanted)
    model = engine.facts.names[0]
    record = record_of(request.scope)
    if record is not None:
        record.model = model
    work = _embed(engine, inputs, wanted.dimensions, request.app.state.censor, _field(wanted))
    embedded = await _watched(request, work, model)
    tokens = sum(embedded.prompt_tokens)
    if record is not None:
        record.prompt_tokens = tokens
    request.app.state.metrics.prompt_tokens.inc(tokens)
    return EmbeddingResponse(await _encode(embedded, model, tokens, wanted.encoding_format == "base64"), tokens)


class EmbeddingResponse(Response):
    """`tokens_used` is counted against the user's limits."""

    media_type = "application/json"

    def __init__(self, content: bytes, tokens_used: int) -> None:
        super().__init__(content)
        self.tokens_used = tokens_used


def _inputs(wanted: EmbeddingRequest) -> list[Any]:
    """A list of texts, or one of lists of token ids."""
    field = _field(wanted)
    given: Input | None = getattr(wanted, field)
    assert given is not None
    inputs: list[Any] = [given] if isinstance(given, str) or _are(given, int) else given
    if not inputs or not all(inputs):
        raise BadRequestError(f"{field} must not be empty.", param=field)
    if len(inputs) > MOST_INPUTS:
        raise BadRequestError(f"{field} must have at most {MOST_INPUTS} items, got {len(inputs)}.", param=field)
    if not _are(inputs, str) and not _are(inputs, list):
        raise BadRequestError(f"{field} must be texts, or lists of token ids, not both.", param=field)
    return inputs


def _field(wanted: EmbeddingRequest) -> str:
    return "text" if wanted.input is None else "input"


def _missing(body: dict[str, Any]) -> BadRequestError:
    shown = body if len(repr(body)) <= MOST_SHOWN else repr(body)[:MOST_SHOWN] + "…"
    complaint = {"type": "missing", "loc": ("body", "input"), "msg": "Field required", "input": shown}
    return BadRequestError(str([complaint]), param="input")


def _are(items: list[Any], kind: type) -> bool:
    return set(map(type, items)) == {kind}


async def _embed(
    engine: EmbeddingEngine, inputs: list[Any], dimensions: int | None, censor: Censor | None, field: str
) -> Embedded:
    if censor is not None and censor.checks_prompts:
        if not _are(inputs, str):
            raise BadRequestError(f"{field} can't be checked: send it as text.", param=field)
        flagged = await censor.find_flagged(inputs)
        if flagged is not None:
            place = field if len(inputs) == 1 else f"{field}[{flagged}]"
            raise BadRequestError(f"{place} is not embedded: the censor has flagged it.", param=place)
    return await engine.embed(inputs, dimensions=dimensions, request_id=f"embd-{new_id()}")


class _Embedding:
    """One on its way."""

    def __init__(self, request: Request, model: str) -> None:
        self.asked = asked_by(request)
        self.ended: asyncio.Future[KodifyError] = asyncio.get_running_loop().create_future()
        self._model = model

    def shown(self) -> Shown:
        return Shown(self._model, False, None, None)

    def cut(self, error: KodifyError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)


async def _watched(request: Request, work: Coroutine[Any, Any, Embedded], model: str) -> Embedded:
    """Ended as soon as the client has left."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    running: set[Any] = request.app.state.running
    on_its_way = _Embedding(request, model)
    running.add(on_its_way)
    try:
        waited: set[asyncio.Future[Any]] = {working, leaving, on_its_way.ended}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if on_its_way.ended.done():
            raise on_its_way.ended.result()
        leaving.result()
        request.app.state.metrics.cancelled.inc()
        raise ClientDisconnect()
    finally:
        running.discard(on_its_way)
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _encode(embedded: Embedded, model: str, tokens: int, as_base64: bool) -> bytes:
    """Thousands of vectors take long to write: the event loop goes on in between."""
    vectors = embedded.vectors
    step = max(1, NUMBERS_AT_ONCE // max(1, vectors.shape[1]))
    parts: list[bytes] = []
    for start in range(0, len(vectors), step):
        if start:
            await asyncio.sleep(0)
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector}
            for index, vector in enumerate(vectors[start : start + step], start)
        ]
        parts.append(orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    tail = orjson.dumps({"model": model, "usage": usage})
    return b'{"object":"list","data":[' + b",".join(parts) + b"]," + tail[1:]


def _base64(vector: Any) -> str:
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")
