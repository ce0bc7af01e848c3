"""Dialects that other servers speak: a request is handed on as it came, its answer as it comes."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from kodify.engine.base import Dialect, Event, Progress
from kodify.engine.upstream_answer import Events
from kodify.engine.upstream_asking import Answer, Asking, Call
from kodify.engine.upstream_errors import GONE, Refused, of_event
from kodify.engine.upstream_pool import Pool
from kodify.errors import BadRequestError, UnavailableError

log = logging.getLogger(__name__)

PATHS: dict[Dialect, str] = {
    "messages": "/v1/messages",
    "count_tokens": "/v1/messages/count_tokens",
    "responses": "/v1/responses",
    "tokenize": "/tokenize",
    "detokenize": "/detokenize",
}
ANTHROPIC = {"anthropic-version": "2023-06-01"}
LAST = frozenset({"message_stop", "response.completed", "response.incomplete", "response.failed"})
# Before the model has said anything: until then another upstream may begin again.
EARLY = frozenset({"message_start", "ping", "response.created", "response.queued", "response.in_progress"})
PROMPT_TOKENS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
STOP_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
MOST_PRIORITY = 1_000_000

_loads = msgspec.json.Decoder(dict[str, Any]).decode


def read(dialect: Dialect, body: dict[str, Any], pool: Pool) -> tuple[Call, bool]:
    """What is asked, and whether its answer is a stream. Only what decides that is read here."""
    model, stream = body.get("model") or "", body.get("stream")
    if not isinstance(model, str):
        raise BadRequestError("model must be a string.", param="model")
    if stream is not None and not isinstance(stream, bool):
        raise BadRequestError("stream must be true or false.", param="stream")
    if dialect == "responses" and body.get("background"):
        raise BadRequestError("background is not served: no response is stored here.", param="background")
    name = pool.name(model)
    spoken = dialect in ("messages", "count_tokens")
    sent = {**body, "model": name}
    if dialect in ("messages", "responses"):
        _take_away(sent)
    call = Call(
        name,
        PATHS[dialect],
        sent,
        headers=ANTHROPIC if spoken else {},
        key_header="x-api-key" if spoken else None,
    )
    return call, bool(stream) and dialect in ("messages", "responses")


def _take_away(body: dict[str, Any]) -> None:
    """What would let one client end another's request, or go before all of them."""
    body.pop("request_id", None)
    priority = body.get("priority")
    if priority is None:
        return
    if not isinstance(priority, int):
        raise BadRequestError("priority must be an integer.", param="priority")
    body["priority"] = min(max(0, priority), MOST_PRIORITY)


async def whole(dialect: Dialect, asking: Asking, progress: Progress) -> dict[str, Any]:
    def take(content: bytes) -> dict[str, Any]:
        answer = _loads(content)
        if dialect in ("messages", "responses"):
            _note_end(answer, progress)
            progress.first_at = time.monotonic()
        return answer

    return await asking.whole(take)


async def events(asking: Asking, progress: Progress) -> AsyncGenerator[Event, None]:
    while True:
        early: list[Event] = []
        async with asking.attempt() as answer, aclosing(_heard(answer, progress)) as heard:
            async for event in heard:
                if not asking.told and event.name in EARLY:
                    early.append(event)
                    continue
                if not asking.told:
                    asking.told = True
                    progress.first_at = time.monotonic()
                    for one in early:
                        yield one
                yield event
            return


async def _heard(answer: Answer, progress: Progress) -> AsyncGenerator[Event, None]:
    """To the dialect's last event. Raises Refused where that does not come."""
    response = await answer.response()
    stream = Events()
    pieces = response.aiter_bytes()
    async for piece in pieces:
        for data in stream.feed(piece):
            if not data or data == b"[DONE]":
                continue
            event, error = answer.read(lambda data: _event(stream.name, data, progress), data)
            if error is not None:
                raise of_event(error, answer.label)
            yield event
            if event.name in LAST:
                answer.rest = pieces
                return
    log.warning("the upstream %s ended an answer before its end", answer.label)
    raise Refused(UnavailableError(GONE, retry_after_s=1), fails=True)


def _event(name: str, data: bytes, progress: Progress) -> tuple[Event, Any]:
    """With the error that it tells."""
    told = _loads(data)
    name = name or told.get("type") or "error"
    error = None
    match name:
        case "error":
            error = told.get("error") or told
        case "message_start":
            _note_usage(told["message"].get("usage"), progress)
        case "message_delta":
            _note_end({**told["delta"], "usage": told.get("usage")}, progress)
        case _ if name in LAST and "response" in told:
            _note_end(told["response"], progress)
        case _ if name.endswith("delta"):
            progress.completion_tokens += 1  # until the usage tells
    return Event(name, data), error


def _note_end(answer: dict[str, Any], progress: Progress) -> None:
    """Of a message, or of a response."""
    _note_usage(answer.get("usage"), progress)
    progress.finish_reason = STOP_REASONS.get(answer.get("stop_reason") or "", progress.finish_reason)
    match answer.get("status"):
        case "completed":
            kinds = {item.get("type") for item in answer.get("output") or ()}
            progress.finish_reason = "tool_calls" if kinds & {"function_call", "custom_tool_call"} else "stop"
        case "incomplete":
            progress.finish_reason = "length"


def _note_usage(usage: dict[str, Any] | None, progress: Progress) -> None:
    """A stream may tell one part at its start, the other at its end."""
    if usage is not None:
        progress.prompt_tokens = sum(usage.get(name) or 0 for name in PROMPT_TOKENS) or progress.prompt_tokens
        progress.completion_tokens = usage.get("output_tokens") or progress.completion_tokens
