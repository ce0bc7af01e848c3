"""`POST /v1/responses`, OpenAI's newer dialect; nothing of an answer is stored for later requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kodify.api import errors
from kodify.api.body import read_json
from kodify.api.served import Voice, respond
from kodify.engine.base import Event
from kodify.errors import KodifyError


async def create(request: Request) -> Response:
    return respond(request, "responses", await read_json(request), ResponsesVoice())


class ResponsesVoice(Voice):
    early = frozenset({"response.created", "response.in_progress"})

    def __init__(self) -> None:
        self._told = 0

    def event(self, event: Event) -> Event:
        self._told += 1
        return event

    def error_event(self, error: KodifyError) -> Event:
        found = errors.fields(error)
        data = {"sequence_number": self._told, **found, "type": "error", "error": found}
        return Event("error", orjson.dumps(data))

    def assembled(self, events: Sequence[Event]) -> dict[str, Any]:
        response: dict[str, Any] = {}
        items: dict[int, dict[str, Any]] = {}
        for event in events:
            match event.name:
                case "response.created":
                    response = orjson.loads(event.data)["response"]
                case "response.output_item.added" | "response.output_item.done":
                    told = orjson.loads(event.data)
                    items[told["output_index"]] = told["item"]
                case "response.completed":
                    completed: dict[str, Any] = orjson.loads(event.data)["response"]
                    return completed
                case name if name.endswith(".delta"):
                    told = orjson.loads(event.data)
                    if (item := items.get(told["output_index"])) is not None:
                        _extend(item, told)
        return {**response, "status": "incomplete", "output": [items[index] for index in sorted(items)]}

    def finish_reason(self, answer: dict[str, Any], reason: str | None) -> str | None:
        called = any(item["type"] in ("function_call", "custom_tool_call") for item in answer.get("output", ()))
        return "tool_calls" if reason == "stop" and called else reason


def _extend(item: dict[str, Any], told: dict[str, Any]) -> None:
    """An item that has not come to its end."""
    if item["type"] == "function_call":
        item["arguments"] = item.get("arguments", "") + told["delta"]
    elif item["type"] == "custom_tool_call":
        item["input"] = item.get("input", "") + told["delta"]
    else:
        parts = item["content"] = item.get("content") or []
        if not parts:
            parts.append({"type": "reasoning_text" if item["type"] == "reasoning" else "output_text", "text": ""})
        parts[-1]["text"] += told["delta"]
