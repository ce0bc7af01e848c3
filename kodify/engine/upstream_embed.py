"""Embedding models that other OpenAI-compatible servers serve, as one engine."""

from __future__ import annotations

import base64
import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import msgspec

from kodify.engine.base import Embedded, EngineFacts
from kodify.engine.upstream_asking import Asking, Call
from kodify.engine.upstream_pool import Pool, UpstreamOptions

if TYPE_CHECKING:
    import numpy as np

PATH = "/v1/embeddings"


class _Vector(msgspec.Struct):
    embedding: str | list[float]  # in base64, or as a server has it that knows no other form
    index: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage | None = None


_DECODER = msgspec.json.Decoder(_Answer)


class UpstreamEmbedder:
    """Embeds with the first of its models; `of` another one."""

    def __init__(self, upstreams: Sequence[UpstreamOptions], *, patience_s: float | None = None) -> None:
        """`start` waits for the first upstream: for ever, or `patience_s`."""
        self.pool = Pool(upstreams, task="embed", patience_s=patience_s)
        self._model = ""
        self._running: list[int] = []  # inputs of each request

    def of(self, model: str) -> Self:
        """The same, with that model first."""
        own = copy.copy(self)
        own._model = model
        return own

    @property
    def facts(self) -> EngineFacts:
        facts = self.pool.facts()
        return replace(facts, names=(self._model,)) if self._model else facts

    async def start(self) -> None:
        """Raises UnavailableError where no upstream serves a model in time."""
        await self.pool.start()

    async def stop(self) -> None:
        """Safe before and after a start that failed."""
        await self.pool.stop()

    async def embed(
        self,
        inputs: Sequence[str] | Sequence[list[int]],
        *,
        dimensions: int | None = None,
        request_id: str = "",
        cut: bool = False,
    ) -> Embedded:
        """An upstream tells the tokens of all inputs together: they are told as the first one's."""
        model = self.pool.name(self._model)
        body: dict[str, Any] = {"model": model, "input": list(inputs), "encoding_format": "base64"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        if cut:
            body["truncate_prompt_tokens"] = -1  # vLLM's name for it
        call = Call(model, PATH, body, request_id) if request_id else Call(model, PATH, body)
        self._running.append(len(inputs))
        try:
            return await Asking(self.pool, call).whole(lambda content: _embedded(content, len(inputs)))
        finally:
            self._running.remove(len(inputs))

    async def check_health(self) -> None:
        self.pool.check_health()

    def running(self) -> int:
        return sum(self._running)

    def metrics(self) -> bytes:
        return self.pool.metrics()


def _embedded(content: bytes, count: int) -> Embedded:
    """Raises ValueError where it is no answer to `count` inputs."""
    import numpy as np  # the engine's

    answer = _DECODER.decode(content)
    rows = {position if one.index is None else one.index: _vector(one) for position, one in enumerate(answer.data)}
    if len(answer.data) != count or sorted(rows) != list(range(count)):
        raise ValueError("there is not one vector for each input")
    usage = answer.usage or _Usage()
    tokens = usage.prompt_tokens or usage.total_tokens or 0
    return Embedded(np.stack([rows[index] for index in range(count)]), (tokens, *(0,) * (count - 1)))


def _vector(one: _Vector) -> np.ndarray[Any, np.dtype[np.float32]]:
    import numpy as np

    if isinstance(one.embedding, list):
        return np.array(one.embedding, dtype=np.float32)
    return np.frombuffer(base64.b64decode(one.embedding, validate=True), dtype="<f4").astype(np.float32, copy=False)
