"""`POST /v1/messages`, Anthropic's dialect: its ids, its errors, its streams put together."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from kodify.api import errors
from kodify.api.body import read_json
from kodify.api.guard import Guarded, Handler
from kodify.api.middleware import new_id
from kodify.api.served import Voice, respond
from kodify.censor import REASON
from kodify.engine.base import Event, Progress
from kodify.errors import BadRequestError, KodifyError

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": REASON,
}
REFUSAL = {"stop_reason": "refusal", "stop_sequence": None}
_ODD = (ValueError, LookupError, TypeError, AttributeError)  # what comes of an event that is not as it should be


class ThreadUnsupportedError(BadRequestError):
    """Anthropic's clients then send the whole conversation: nothing of one is kept here."""

    details: ClassVar[dict[str, Any]] = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


async def create(request: Request) -> Response:
    body = await read_json(request)
    if body.get("thread") is not None:
        raise ThreadUnsupportedError("thread is not served: send the whole conversation.", param="thread")
    return respond(request, "messages", body, MessagesVoice())


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

    def blocked_event(self, event: Event, progress: Progress) -> Event | None:
        if event.name != "message_delta":
            return event
        told = orjson.loads(event.data)
        told["delta"] |= REFUSAL
        told["usage"]["output_tokens"] = progress.completion_tokens  # with those that were not shown
        return Event(event.name, orjson.dumps(told))

    def blocked(self, answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, **REFUSAL}

    def assembled(self, events: Sequence[Event]) -> dict[str, Any]:
        """An event that another server tells oddly is passed over."""
        message: dict[str, Any] = {}
        blocks: dict[int, dict[str, Any]] = {}
        for event in events:
            with contextlib.suppress(*_ODD):
                _take(event.name, orjson.loads(event.data), message, blocks)
        for block in blocks.values():
            _close(block)
        if message or blocks:
            message["content"] = list(blocks.values())
        return message

    def finish_reason(self, answer: dict[str, Any], reason: str | None) -> str | None:
        return FINISH_REASONS.get(answer.get("stop_reason") or "", reason)


class MessagesGuarded(Guarded):
    """Whoever is refused is told so in Anthropic's words."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id: str = scope["state"]["request_id"]

        async def named(message: Message) -> None:
            """With the header in which Anthropic's clients look for the id."""
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"request-id", request_id.encode())]
            await send(message)

        try:
            await super().__call__(scope, receive, named)
        except KodifyError as error:
            answer = Response(error_body(error), status_code=error.status)
            length = [(k, v) for k, v in answer.raw_headers if k == b"content-length"]
            answer.raw_headers = [*errors.headers(error), *length]
            await answer(scope, receive, named)


def guard(handler: Handler, *, journaled: bool = False) -> MessagesGuarded:
    """For users, within their limits."""
    return MessagesGuarded("user", handler, limited=True, journaled=journaled)


def error_body(error: KodifyError) -> bytes:
    """The documented flat fields, but `type`, which is Anthropic's; its own under `error`."""
    found = errors.fields(error)
    kind = ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    own = {**found, "type": kind}
    if isinstance(error, ThreadUnsupportedError):
        own["details"] = error.details
    return orjson.dumps({"object": "error", **found, "type": "error", "error": own})


def _take(name: str, told: dict[str, Any], message: dict[str, Any], blocks: dict[int, dict[str, Any]]) -> None:
    """One event of a stream. Raises one of _ODD, and has taken what was right of it."""
    match name:
        case "message_start":
            message |= told["message"]
            blocks |= {index: dict(block) for index, block in enumerate(message.get("content") or ())}
        case "content_block_start":
            blocks[told.get("index", len(blocks))] = dict(told["content_block"])
        case "content_block_delta":
            _extend(blocks[told.get("index", len(blocks) - 1)], told["delta"])
        case "content_block_stop":
            _close(blocks[told["index"]])
        case "message_delta":
            message |= told.get("delta") or {}
            message["usage"] = {**(message.get("usage") or {}), **(told.get("usage") or {})}


def _extend(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] = (block.get("text") or "") + delta["text"]
        case "thinking_delta":
            block["thinking"] = (block.get("thinking") or "") + delta["thinking"]
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
