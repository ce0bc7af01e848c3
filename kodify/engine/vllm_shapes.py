"""What vLLM's own models validate, as JSON schemas, and what the house asks or takes beyond them."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema
from vllm.entrypoints.anthropic.protocol import AnthropicCountTokensRequest, AnthropicMessagesRequest
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeChatRequest, TokenizeCompletionRequest

MODELS: dict[str, tuple[Any, ...]] = {
    "chat": (ChatCompletionRequest,),
    "completion": (CompletionRequest,),
    "messages": (AnthropicMessagesRequest,),
    "count_tokens": (AnthropicCountTokensRequest,),
    "responses": (ResponsesRequest,),
    "tokenize": (TokenizeCompletionRequest, TokenizeChatRequest),
    "detokenize": (DetokenizeRequest,),
}
# In vLLM's models the name may be left out.
REQUIRED = {"ChatCompletionRequest": ["model", "messages"], "CompletionRequest": ["model"]}
DEADLINE = {
    "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}],
    "default": None,
    "description": "Beside suffix: the answer is what is there after so many milliseconds.",
}


def shapes(reference: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema for each kind of body, and those that it refers to; `reference` has a place for their name, `{model}`.

    Takes a second: not for the event loop.
    """
    every = [(model, "validation") for models in MODELS.values() for model in models]
    found, rest = models_json_schema(every, ref_template=reference)  # type: ignore[arg-type]
    parts: dict[str, Any] = rest.get("$defs", {})
    for name, fields in REQUIRED.items():
        parts[name]["required"] = fields
    chat, completion = parts["ChatCompletionRequest"]["properties"], parts["CompletionRequest"]["properties"]
    chat["messages"] = {"anyOf": [chat["messages"], {"type": "string", "description": "One message of the user's."}]}
    completion["deadline_ms"] = DEADLINE
    bodies = {}
    for name, models in MODELS.items():
        each = [found[model, "validation"] for model in models]
        bodies[name] = each[0] if len(each) == 1 else {"anyOf": each}
    return bodies, parts
