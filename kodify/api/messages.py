"""`POST /v1/messages`, Anthropic's dialect: its ids, its errors, its streams put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kodify.api import errors
from kodify.api.body import read_json
from kodify.api.guard import Guarded, Handler
from kodify.api.middleware import new_id
from kodify.api.served import Voice, respond
from kodify.engine.base import Event
from kodify.errors import KodifyError

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
FINISH_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


async def create(request: Request) -> Response:
    return respond(request, "messages", await read_json(request), MessagesVoice())


async def count_tokens(request: Request) -> Response:
    return respond(request, "count_tokens", await read_json(request), MessagesVoice())


class MessagesVoice(Voice):
    early = frozenset({"message_start", "ping"})

    def __init__(self) -> None:
        self._id = f"msg_{new_id()}"

    def error_body(self, error: KodifyError) -> bytes:
        return error_body(error)

    def error_event(self, error: KodifyError) -> Event:
        return Event("error", error_body(error))

    def event(self, event: Event) -> Event:
        if event.name != "message_start":
            return event
        start = orjson.loads(event.data)
        start["message"]["id"] = self._id
        return Event(event.name, orjson.dumps(start))

    def whole(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "content" not in answer:
            return answer
        return {"stop_sequence": None, **answer, "id": self._id}

    def assembled(self, events: Sequence[Event]) -> dict[str, Any]:
        message: dict[str, Any] = {}
        for event in events:
            told = orjson.loads(event.data)
            match event.name:
                case "message_start":
                    message = told["message"]
                case "content_block_start":
                    message["content"].append(told["content_block"])
                case "content_block_delta":
                    _extend(message["content"][told["index"]], told["delta"])
                case "content_block_stop":
                    _close(message["content"][told["index"]])
                case "message_delta":
                    message |= told["delta"]
                    message["usage"] |= told["usage"]
        for block in message.get("content", ()):
            _close(block)
        return message

    def finish_reason(self, answer: dict[str, Any], reason: str | None) -> str | None:
        return FINISH_REASONS.get(answer.get("stop_reason") or "", reason)


class MessagesGuarded(Guarded):
    """Whoever is refused is told so in Anthropic's words."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except KodifyError as error:
            answer = Response(error_body(error), status_code=error.status)
            length = [(k, v) for k, v in answer.raw_headers if k == b"content-length"]
            answer.raw_headers = [*errors.headers(error), *length]
            await answer(scope, receive, send)


def guard(handler: Handler, *, journaled: bool = False) -> MessagesGuarded:
    """For users, within their limits."""
    return MessagesGuarded("user", handler, limited=True, journaled=journaled)


def error_body(error: KodifyError) -> bytes:
    """The documented flat fields, but `type`, which is Anthropic's; its own under `error`."""
    found = errors.fields(error)
    kind = ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return orjson.dumps({"object": "error", **found, "type": "error", "error": {**found, "type": kind}})


def _extend(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            block["partial_json"] = block.get("partial_json", "") + delta["partial_json"]


def _close(block: dict[str, Any]) -> None:
    """A tool's input is there when all of it has come; before, its text is what there is."""
    if "partial_json" not in block:
        return
    try:
        block["input"] = orjson.loads(block["partial_json"])
    except orjson.JSONDecodeError:
        return
    del block["partial_json"]
