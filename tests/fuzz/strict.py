"""A scripted engine that is as strict as its least shapes say, in every dialect, so that odd bodies reach the doors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from kodify.api.shapes import read
from kodify.engine.base import Dialect, Event, Job, Progress
from kodify.engine.scripted import CharacterVocabulary, ScriptedEmbedder, ScriptedEngine
from kodify.engines import Engines, Served
from kodify.errors import BadRequestError
from kodify.protocol.bodies import SHAPES
from tests.fuzz.mutations import MODEL

LARGEST_ID = 0x10FFFF + len(CharacterVocabulary.markers)
ANSWERS: dict[Dialect, dict[str, Any]] = {
    "messages": {"id": "msg", "type": "message", "content": [{"type": "text", "text": "hi"}], "usage": {}},
    "count_tokens": {"input_tokens": 1},
    "responses": {"id": "resp", "status": "completed", "output": []},
    "tokenize": {"tokens": [1], "count": 1, "max_model_len": 4096},
    "detokenize": {"prompt": "a"},
}


class StrictEngine(ScriptedEngine):
    screens_dialects = False

    def parse_chat(self, body: dict[str, Any]) -> Any:
        return super().parse_chat(_checked(body, "chat"))

    def parse_completion(self, body: dict[str, Any]) -> Any:
        found = _checked(body, "completion")
        prompt = found["prompt"]
        kinds = {type(one) for one in prompt} if isinstance(prompt, list) else {str}
        numbers = prompt if kinds == {int} else [n for one in prompt if isinstance(one, list) for n in one]
        if len(kinds) != 1 or any(isinstance(n, int) and not 0 <= n <= LARGEST_ID for n in numbers):
            raise BadRequestError("prompt must be texts, or lists of token ids.", param="prompt")
        # What the engine's own room knows beside the shape.
        return super().parse_chat({**found, "stop_token_ids": body.get("stop_token_ids")})

    async def completion_job(self, request: Any, job_id: str) -> Job:
        job = await super().completion_job(request, job_id)
        if sum(len(prompt.token_ids) for prompt in job.prompts) > 10 * self.context_tokens:
            raise BadRequestError("The prompt is too long.", param="prompt")
        return job

    async def serve(
        self, dialect: Dialect, body: dict[str, Any], progress: Progress, screen: Any = None
    ) -> dict[str, Any] | AsyncGenerator[Event, None]:
        checked = _checked(body, dialect)
        progress.prompt_tokens = 1
        return self._events(dialect) if checked.get("stream") else ANSWERS[dialect]

    async def _events(self, dialect: Dialect) -> AsyncGenerator[Event, None]:
        if dialect == "messages":
            yield Event("message_start", msgspec.json.encode({"type": "message_start", "message": ANSWERS[dialect]}))
            yield Event("message_stop", b'{"type":"message_stop"}')
        else:
            yield Event("response.completed", msgspec.json.encode({"response": ANSWERS[dialect]}))


def strict_engines() -> Engines:
    return Engines([Served(StrictEngine(names=(MODEL,))), Served(ScriptedEmbedder(), task="embed")])


def _checked(body: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(read(body, SHAPES[kind]))
    return found
