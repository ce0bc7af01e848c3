"""What llama.cpp's clients send to `/infill` and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec


class Extra(msgspec.Struct):
    text: str
    filename: str | None = None


class InfillRequest(msgspec.Struct):
    input_prefix: str
    input_suffix: str
    input_extra: list[Extra] | None = None
    prompt: str | None = None
    n_predict: int | None = None
    n_indent: int | None = None
    t_max_prompt_ms: float | None = None
    t_max_predict_ms: float | None = None
    stream: bool | None = None
    response_fields: list[str] | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: list[str] | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """Of an answer: tokens, and seconds until the first one and from then on."""

    prompt_tokens: int = 0
    cached: int = 0
    prompt_s: float = 0.0
    predicted: int = 0
    predicted_s: float = 0.0
    reason: str | None = None

    def timings(self) -> dict[str, Any]:
        evaluated = self.prompt_tokens - self.cached
        return {
            "cache_n": self.cached,
            "prompt_n": evaluated,
            "prompt_ms": self.prompt_s * 1e3,
            "prompt_per_token_ms": _per(self.prompt_s * 1e3, evaluated),
            "prompt_per_second": _per(evaluated, self.prompt_s),
            "predicted_n": self.predicted,
            "predicted_ms": self.predicted_s * 1e3,
            "predicted_per_token_ms": _per(self.predicted_s * 1e3, self.predicted),
            "predicted_per_second": _per(self.predicted, self.predicted_s),
        }


def piece(text: str) -> dict[str, Any]:
    return {"content": text, "stop": False}


def answer(model: str, context_tokens: int, text: str, counted: Counted) -> dict[str, Any]:
    return {
        "content": text,
        "stop": True,
        "model": model,
        "stop_type": "limit" if counted.reason == "length" else "eos",
        "tokens_evaluated": counted.prompt_tokens,
        "tokens_cached": counted.cached,
        "tokens_predicted": counted.predicted,
        "has_new_line": "\n" in text,
        "truncated": False,
        "generation_settings": {"n_ctx": context_tokens},
        "timings": counted.timings(),
    }


def _per(value: float, count: float) -> float:
    return value / count if count else 0.0


def pick(answer: dict[str, Any], fields: list[str] | None) -> dict[str, Any]:
    """The fields that are asked for, by name; `a/b` is the field b of a, and keeps that name."""
    if fields is None:
        return answer
    picked = {}
    for name in fields:
        value: Any = answer
        for part in name.split("/"):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            picked[name] = value
    return picked
