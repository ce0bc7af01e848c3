"""vLLM's log-probabilities into the house's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kodify.engine.base import TokenLogprob

# The wire has no minus infinity; OpenAI's own servers send this for a token that could not come.
LEAST = -9999.0


def convert(
    token_ids: Sequence[int], positions: Sequence[Mapping[int, Any] | None], top: int, tokenizer: Any
) -> list[TokenLogprob]:
    """One entry a token. `top` is how many alternatives to keep, -1 for all."""
    return [
        _position(token_id, position, top, tokenizer)
        for token_id, position in zip(token_ids, positions, strict=False)
        if position is not None
    ]


def convert_prompt(
    token_ids: Sequence[int], positions: Sequence[Mapping[int, Any] | None], top: int, tokenizer: Any
) -> list[TokenLogprob | None]:
    """One entry a prompt token; nothing predicts the first."""
    return [
        None if position is None else _position(token_id, position, top, tokenizer)
        for token_id, position in zip(token_ids, positions, strict=False)
    ]


def _position(token_id: int, position: Mapping[int, Any], top: int, tokenizer: Any) -> TokenLogprob:
    entries = {i: _entry(i, value, tokenizer) for i, value in position.items()}
    ranked = sorted(entries.values(), key=lambda entry: -entry.logprob)
    kept = ranked if top < 0 else ranked[:top]
    own = entries.get(token_id) or TokenLogprob(token_id, tokenizer.decode([token_id]), LEAST)
    return TokenLogprob(own.id, own.token, own.logprob, own.rank, tuple(kept))


def _entry(token_id: int, value: Any, tokenizer: Any) -> TokenLogprob:
    text = value.decoded_token
    if text is None:
        text = tokenizer.decode([token_id])
    return TokenLogprob(token_id, text, max(value.logprob, LEAST), value.rank)
