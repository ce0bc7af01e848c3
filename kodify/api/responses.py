"""`POST /v1/responses`, OpenAI's newer dialect; nothing of an answer is stored for later requests."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kodify.api import errors
from kodify.api.body import read_json
from kodify.api.served import Voice, respond
from kodify.censor import REASON
from kodify.engine.base import Event, Progress
from kodify.errors import KodifyError

CUT = {"status": "incomplete", "incomplete_details": {"reason": REASON}}
CALLS = ("function_call", "custom_tool_call")
# A stream's last event, and what the answer is then.
ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
_ODD = (ValueError, LookupError, TypeError, AttributeError)  # what comes of an event that is not as it should be


async def create(request: Request) -> Response:
    return respond(request, "responses", await read_json(request), ResponsesVoice())


class ResponsesVoice(Voice):
    early = frozenset({"response.created", "response.in_progress"})

    def __init__(self) -> None:
        self._told = 0
        self._cut: set[str] = set()  # ids of items

    def event(self, event: Event) -> Event:
        self._told += 1
        return event

    def blocked_event(self, event: Event, progress: Progress) -> Event | None:
        """What the block cuts short is incomplete. A call is not told to its end: a client may make it then."""
        told = orjson.loads(event.data)
        name, item = event.name, told.get("item") or {}
        if name == "response.output_item.done":
            self._cut.add(item["id"])
            item["status"] = "incomplete"
        if "call" in name or "call" in item.get("type", ""):
            self._told -= 1
            return None
        told["sequence_number"] = self._told - 1
        if name == "response.completed":
            name = told["type"] = "response.incomplete"
            self._cut_short(told["response"], progress)
        return Event(name, orjson.dumps(told))

    def _cut_short(self, response: dict[str, Any], progress: Progress) -> None:
        output = [item for item in response["output"] if item["id"] not in self._cut or "call" not in item["type"]]
        for item in output:
            if item["id"] in self._cut:
                item["status"] = "incomplete"
        used, written = response["usage"], progress.completion_tokens  # with those that were not shown
        used |= {"output_tokens": written, "total_tokens": used["input_tokens"] + written}
        response |= {**CUT, "output": output}

    def blocked(self, answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, **CUT}

    def error_event(self, error: KodifyError) -> Event:
        found = errors.fields(error)
        data = {"sequence_number": self._told, **found, "type": "error", "error": found}
        return Event("error", orjson.dumps(data))

    def assembled(self, events: Sequence[Event]) -> dict[str, Any]:
        """An event that another server tells oddly is passed over."""
        response: dict[str, Any] = {}
        items: dict[int, dict[str, Any]] = {}
        status = "incomplete"
        for event in events:
            with contextlib.suppress(*_ODD):
                match event.name:
                    case "response.created":
                        response |= orjson.loads(event.data)["response"]
                    case "response.output_item.added" | "response.output_item.done":
                        told = orjson.loads(event.data)
                        items[int(told["output_index"])] = dict(told["item"])
                    case name if name in ENDS:
                        status = ENDS[name]
                        return dict(orjson.loads(event.data)["response"])
                    case name if name.endswith(".delta"):
                        told = orjson.loads(event.data)
                        _extend(items[told["output_index"]], told)
        return {**response, "status": status, "output": [items[index] for index in sorted(items)]}

    def finish_reason(self, answer: dict[str, Any], reason: str | None) -> str | None:
        output = answer.get("output")
        items = output if isinstance(output, list) else ()
        called = any(isinstance(item, dict) and item.get("type") in CALLS for item in items)
        return "tool_calls" if reason == "stop" and called else reason


def _extend(item: dict[str, Any], told: dict[str, Any]) -> None:
    """An item that has not come to its end."""
    if item["type"] == "function_call":
        item["arguments"] = (item.get("arguments") or "") + told["delta"]
    elif item["type"] == "custom_tool_call":
        item["input"] = (item.get("input") or "") + told["delta"]
    else:
        parts = item["content"] = item.get("content") or []
        if not parts:
            parts.append({"type": "reasoning_text" if item["type"] == "reasoning" else "output_text"})
        parts[-1]["text"] = (parts[-1].get("text") or "") + told["delta"]
