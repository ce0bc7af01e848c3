"""What is asked of a code action, and its answer."""

from __future__ import annotations

from typing import Any

import msgspec


class Selection(msgspec.Struct):
    """Lines, from 1, both included."""

    start_line: int
    end_line: int


class ActionRequest(msgspec.Struct, kw_only=True):
    code: str
    language: str | None = None
    selection: Selection | None = None
    path: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None


def head(job_id: str, created: int, model: str, action: str) -> dict[str, Any]:
    return {"id": job_id, "object": "action", "created": created, "model": model, "action": action}


def piece(job_id: str, text: str) -> dict[str, Any]:
    return {"id": job_id, "text": text}
