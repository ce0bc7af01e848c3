"""Dialects that vLLM's own serving classes speak, in this process: Anthropic's messages, OpenAI's responses,
tokenization."""

from __future__ import annotations

import copy
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, assert_never

from pydantic import ValidationError
from vllm.entrypoints.anthropic.protocol import (
    AnthropicContentBlock,
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
    AnthropicMessagesResponse,
    AnthropicUsage,
)
from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.openai.responses.protocol import (
    InputTokensDetails,
    OutputTokensDetails,
    ResponsesRequest,
    ResponsesResponse,
    ResponseUsage,
)
from vllm.entrypoints.openai.responses.serving import OpenAIServingResponses
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeChatRequest, TokenizeCompletionRequest
from vllm.entrypoints.serve.tokenize.serving import ServingTokenization
from vllm.exceptions import VLLMValidationError
from vllm.renderers.online_renderer import OnlineRenderer

from kodify.engine.base import Dialect, Event, Progress, Screener
from kodify.engine.vllm_arguments import ServingFlags
from kodify.engine.vllm_errors import places, translate
from kodify.engine.vllm_stand_in import BlockedError, StandIn
from kodify.errors import BadRequestError, EngineFailedError, KodifyError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)


class Speaker:
    """Holds the serving classes; one for each engine."""

    def __init__(self, engine: Any, renderer: OnlineRenderer, flags: ServingFlags, names: list[str], path: str) -> None:
        self._engine = engine
        models = OpenAIServingModels(engine, [BaseModelPath(name=name, model_path=path) for name in names])
        self.adapters: dict[str, Any] = models.lora_requests  # by name
        template: dict[str, Any] = {
            "chat_template": renderer.chat_template,
            "chat_template_content_format": flags.chat_template_content_format,
            "default_chat_template_kwargs": flags.default_chat_template_kwargs,
            "request_logger": None,
        }
        parsing: dict[str, Any] = {
            "reasoning_parser": flags.reasoning_parser or "",
            "enable_auto_tools": flags.enable_auto_tool_choice,
            "tool_parser": flags.tool_call_parser,
            "tool_strict_level": flags.tool_strict_level,
            "enable_prompt_tokens_details": flags.enable_prompt_tokens_details,
        }
        self._messages = _Messages(engine, models, "assistant", online_renderer=renderer, **template, **parsing)
        self._responses = OpenAIServingResponses(engine, models, renderer, **template, **parsing)
        self._responses.enable_store = False  # it would never let go of one
        self._tokenization = ServingTokenization(
            models, renderer, trust_request_chat_template=flags.trust_request_chat_template, **template
        )

    async def serve(
        self, dialect: Dialect, body: dict[str, Any], progress: Progress, screen: Screener | None = None
    ) -> dict[str, Any] | AsyncGenerator[Event, None]:
        """A whole answer, or a stream's events. The stream raises KodifyErrors too, bugs aside."""
        model = _model_of(dialect, body)
        engine = StandIn(self._engine, progress, screen)
        try:
            request = model.model_validate(body)
            answer = await self._ask(dialect, request, engine)
        except BlockedError as blocked:
            answer = self._unsaid(request, blocked, progress)
        except Exception as error:
            raise _translated(engine.error or error, dialect, progress) from error
        if isinstance(answer, ErrorResponse):
            raise _refusal(answer)
        if hasattr(answer, "__aiter__"):
            return self._events(dialect, answer, engine, progress)
        omit = {"exclude_none": True} if dialect in ("messages", "count_tokens") else {}
        found: dict[str, Any] = answer.model_dump(mode="json", by_alias=True, **omit)
        return found

    async def _ask(self, dialect: Dialect, request: Any, engine: StandIn) -> Any:
        match dialect:
            case "messages":
                return await _on(engine, self._messages).create_messages(request)
            case "count_tokens":
                return await self._messages.count_tokens(request)
            case "responses":
                if request.background:
                    raise BadRequestError("background is not served: no response is stored here.", param="background")
                # Ids that clients choose would let one of them end another's request.
                request.request_id = f"resp_{uuid.uuid4().hex}"
                request.priority = max(0, request.priority)
                # An answer repeats these and must have them; a null that means "cut the prompt" is no default either.
                request.background, request.truncation = False, request.truncation or "disabled"
                return await _on(engine, self._responses).create_responses(request)
            case "tokenize":
                return await self._tokenization.create_tokenize(request, None)
            case "detokenize":
                return await self._tokenization.create_detokenize(request, None)
            case _:
                assert_never(dialect)

    def _unsaid(self, request: Any, blocked: BlockedError, progress: Progress) -> Any:
        """Made here: vLLM's own parsers fail where a tool's call is asked for and nothing is said."""
        name = self._messages.models.model_name(blocked.lora)
        read, written = progress.prompt_tokens, progress.completion_tokens
        if isinstance(request, AnthropicMessagesRequest):
            return AnthropicMessagesResponse(
                id="",
                content=[AnthropicContentBlock(type="text", text="")],
                model=name,
                usage=AnthropicUsage(input_tokens=read, output_tokens=written),
            )
        usage = ResponseUsage(
            input_tokens=read,
            input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
            output_tokens=written,
            output_tokens_details=OutputTokensDetails(),
            total_tokens=read + written,
        )
        return ResponsesResponse.from_request(
            request, blocked.params, name, int(time.time()), output=[], status="incomplete", usage=usage
        )

    async def _events(
        self, dialect: Dialect, answer: Any, engine: StandIn, progress: Progress
    ) -> AsyncGenerator[Event, None]:
        try:
            async with aclosing(answer):
                async for item in answer:
                    event = _parsed(item) if isinstance(item, str) else _dumped(item)
                    if event.name == "error":  # told in words for programmers
                        stopped = UnavailableError("The engine has stopped.") if self._engine.errored else None
                        raise engine.error or stopped or EngineFailedError()
                    yield event
        except Exception as error:
            raise _translated(engine.error or error, dialect, progress) from error


class _Messages(AnthropicServingMessages):  # type: ignore[misc]
    def messages_full_converter(self, generator: Any) -> Any:
        """A call that was cut short has arguments that are no JSON object: it is told without any. `stop_reason` says
        why, though vLLM takes the end of any answer with a call for the call's own."""
        for call in generator.choices[0].message.tool_calls:
            if not _is_object(call.function.arguments):
                call.function.arguments = "{}"
        answer = super().messages_full_converter(generator)
        if self.engine_client.progress.finish_reason == "length":
            answer.stop_reason = "max_tokens"
        return answer


def _on(engine: StandIn, serving: Any) -> Any:
    """The serving class for one request, told apart by its engine only."""
    own = copy.copy(serving)
    own.engine_client = engine
    return own


def _model_of(dialect: Dialect, body: Mapping[str, Any]) -> Any:
    match dialect:
        case "messages":
            return AnthropicMessagesRequest
        case "count_tokens":
            return AnthropicCountTokensRequest
        case "responses":
            return ResponsesRequest
        case "tokenize":
            return TokenizeChatRequest if "messages" in body else TokenizeCompletionRequest
        case "detokenize":
            return DetokenizeRequest
        case _:
            assert_never(dialect)


def _parsed(frame: str) -> Event:
    """Of `event: …\\ndata: …\\n\\n`."""
    name, _, data = frame.removeprefix("event: ").partition("\ndata: ")
    return Event(name, data.rstrip("\n").encode())


def _dumped(event: Any) -> Event:
    return Event(event.type, event.model_dump_json(by_alias=True).encode())


def _translated(error: Exception, dialect: Dialect, progress: Progress) -> KodifyError:
    begun = progress.first_at > 0
    if begun and isinstance(error, ValidationError):  # of what the model said: nothing of the request's
        log.error("the engine failed: %s: %s", type(error).__name__, "; ".join(places(error)))
        return EngineFailedError()
    known = translate(error, from_request=not begun)
    too_long = isinstance(error, VLLMValidationError) and error.parameter in ("input_text", "input_tokens")
    if too_long and dialect == "messages":  # Anthropic's clients know it by these words, and make it shorter
        return BadRequestError(f"prompt is too long: {known.message}", param="messages")
    return known


def _refusal(answer: Any) -> KodifyError:
    error = answer.error
    match error.code:
        case 404:
            return NotFoundError(error.message, param=error.param)
        case 503:
            return UnavailableError(error.message)
        case code if code < 500:
            return BadRequestError(error.message, param=error.param)
        case _:
            return EngineFailedError()


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
