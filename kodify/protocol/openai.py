"""Shapes of OpenAI's answers, as plain dictionaries and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kodify.engine.base import EngineFacts, TokenLogprob, ToolCallDelta


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int | None) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": None if cached_tokens is None else {"cached_tokens": cached_tokens},
    }


def usage_json(prompt_tokens: int, completion_tokens: int, cached_tokens: int | None) -> bytes:
    return b'{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d,"prompt_tokens_details":%b}' % (
        prompt_tokens,
        prompt_tokens + completion_tokens,
        completion_tokens,
        b"null" if cached_tokens is None else b'{"cached_tokens":%d}' % cached_tokens,
    )


def chat_logprobs(positions: Sequence[TokenLogprob] | None) -> dict[str, Any] | None:
    if positions is None:
        return None
    return {"content": [{**_chat_token(p), "top_logprobs": [_chat_token(t) for t in p.top]} for p in positions]}


def _chat_token(entry: TokenLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": list(entry.token.encode("utf-8", "replace"))}


def completion_logprobs(
    positions: Sequence[TokenLogprob | None] | None, first_offset: int, first_token: str = ""
) -> dict[str, Any] | None:
    """Offsets are in characters from the start of the choice's text. `first_token` stands where nothing predicts."""
    if positions is None:
        return None
    offsets, tokens, values, tops = [], [], [], []
    offset = first_offset
    for position in positions:
        token = first_token if position is None else position.token
        offsets.append(offset)
        tokens.append(token)
        values.append(None if position is None else position.logprob)
        tops.append(None if position is None else {t.token: t.logprob for t in (*position.top, position)})
        offset += len(token)
    return {"text_offset": offsets, "token_logprobs": values, "tokens": tokens, "top_logprobs": tops}


def prompt_logprobs(positions: Sequence[TokenLogprob | None] | None) -> list[dict[str, Any] | None] | None:
    if positions is None:
        return None
    return [
        None
        if position is None
        else {
            str(t.id): {"logprob": t.logprob, "rank": t.rank, "decoded_token": t.token}
            for t in (position, *position.top)
        }
        for position in positions
    ]


def tool_calls(calls: Sequence[ToolCallDelta]) -> list[dict[str, Any]]:
    """Of a whole answer."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or ""}}
        for call in calls
    ]


def tool_call_deltas(calls: Sequence[ToolCallDelta]) -> list[dict[str, Any]]:
    """Of a stream: `id`, `type` and `name` come with the first piece of a call only."""
    shown = []
    for call in calls:
        function = {k: v for k, v in (("name", call.name), ("arguments", call.arguments)) if v is not None}
        head: dict[str, Any] = {"index": call.index}
        if call.id is not None:
            head |= {"id": call.id, "type": "function"}
        shown.append({**head, "function": function})
    return shown


def models(engines: Sequence[tuple[EngineFacts, str]]) -> dict[str, Any]:
    return {"object": "list", "data": [model(name, facts, task) for facts, task in engines for name in facts.names]}


def model(name: str, facts: EngineFacts, task: str = "generate") -> dict[str, Any]:
    """`task`: generate or embed, which OpenAI's list does not tell."""
    permission = {
        "id": f"modelperm-{name}",
        "object": "model_permission",
        "created": facts.started_at,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": facts.started_at,
        "owned_by": "kodify",
        "root": facts.path,
        "parent": facts.parent,
        "task": task,
        "max_model_len": facts.context_tokens,
        "permission": [permission],
    }
