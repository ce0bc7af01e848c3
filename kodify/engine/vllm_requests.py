"""OpenAI request bodies into jobs: validated by vLLM's own models, rendered by vLLM's own renderer.

The bodies that `CommonReader` takes go that shorter way; a counter tells how many went which.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from prometheus_client import Counter
from pydantic import ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionNamedToolChoiceParam, ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.utils.api_utils import get_max_tokens
from vllm.exceptions import VLLMError, VLLMValidationError
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.online_renderer import OnlineRenderer

from kodify.engine.base import Job, Prompt
from kodify.engine.vllm_arguments import ServingFlags
from kodify.engine.vllm_common import SAMPLE_CHATS, SAMPLE_COMPLETIONS, CommonChat, CommonCompletion, CommonReader
from kodify.engine.vllm_errors import missing, translate
from kodify.engine.vllm_plan import Plan
from kodify.errors import BadRequestError

log = logging.getLogger(__name__)

# Past this many characters a prompt that is too long is not tokenized only to count its tokens.
MAX_COUNTED_CHARACTERS = 4_000_000


class RequestReader:
    """Holds the renderer; one for each engine."""

    def __init__(self, engine: Any, flags: ServingFlags, by_kodify: Counter, by_vllm: Counter) -> None:
        """The counters tell how many requests were read by whose code."""
        self._engine = engine
        self._by_kodify, self._by_vllm = by_kodify, by_vllm
        self._common: CommonReader | None = None
        self._config = engine.model_config
        self._defaults = self._config.get_diff_sampling_param()
        own_generation_config = self._config.generation_config not in ("auto", "vllm")
        override = getattr(self._config, "override_generation_config", None) or {}
        self._override_max_tokens = (
            self._defaults.get("max_tokens") if own_generation_config else override.get("max_new_tokens")
        )
        self.renderer = OnlineRenderer(
            engine.model_config,
            engine.renderer,
            request_logger=None,
            chat_template=load_chat_template(flags.chat_template),
            chat_template_content_format=flags.chat_template_content_format,
            trust_request_chat_template=flags.trust_request_chat_template,
            enable_auto_tools=flags.enable_auto_tool_choice,
            exclude_tools_when_tool_choice_none=flags.exclude_tools_when_tool_choice_none,
            tool_parser=flags.tool_call_parser,
            reasoning_parser=flags.reasoning_parser,
            tool_strict_level=flags.tool_strict_level,
            default_chat_template_kwargs=flags.default_chat_template_kwargs,
        )

    async def use_common_reader(self) -> None:
        """From now on common bodies go the short way, provided that it makes of the samples what vLLM makes."""
        if not CommonReader.suits(self._engine, self.renderer):
            return log.info("this model's requests are all read by vLLM's models")
        try:
            common = CommonReader(self._engine, self.renderer, self._override_max_tokens)
            compared = 0
            for body in (*SAMPLE_CHATS, *SAMPLE_COMPLETIONS):
                agrees = await self._agrees(common, {"model": "any", **body})
                if agrees is False:
                    return log.warning("requests are all read by vLLM's models: the short way differs on %s", body)
                compared += agrees is True
            if not compared:
                return log.warning("requests are all read by vLLM's models: the short way takes none of the samples")
        except Exception:  # a model's template, or code of its tokenizer: the other way is there for it
            return log.warning("requests are all read by vLLM's models", exc_info=True)
        self._common = common

    async def _agrees(self, common: CommonReader, body: dict[str, Any]) -> bool | None:
        """None where the body does not go the short way."""
        if "messages" in body:
            chat = common.parse_chat(body)
            ours = await common.chat_job(chat, "", "") if chat is not None else None
        else:
            completion = common.parse_completion(body)
            ours = await common.completion_job(completion, "", "") if completion is not None else None
        if ours is None:
            return None
        if "messages" in body:
            theirs = await self._full_chat_job(_validate(ChatCompletionRequest, body), "", "")
        else:
            theirs = await self._full_completion_job(_validate(CompletionRequest, body), "", "")
        return ours.prompts == theirs.prompts and ours.plan.sampling == theirs.plan.sampling

    def parse_chat(self, body: dict[str, Any]) -> CommonChat | ChatCompletionRequest:
        if self._common is not None and (common := self._common.parse_chat(body)) is not None:
            return common
        _require(body, "model", "messages")
        if isinstance(body["messages"], str):  # documented: one message may come as its text
            return self.parse_chat({**body, "messages": [{"role": "user", "content": body["messages"]}]})
        return _validate(ChatCompletionRequest, body)

    def parse_completion(self, body: dict[str, Any]) -> CommonCompletion | CompletionRequest:
        if self._common is not None and (common := self._common.parse_completion(body)) is not None:
            return common
        _require(body, "model", *(() if body.get("prompt_embeds") else ("prompt",)))
        if body.get("prompt") == "" and isinstance(body.get("suffix"), str):  # a hole at the start of a file
            request = _validate(CompletionRequest, {**body, "prompt": "any"})
            request.prompt = ""
            return request
        return _validate(CompletionRequest, body)

    async def chat_job(self, request: CommonChat | ChatCompletionRequest, job_id: str, model: str) -> Job:
        if isinstance(request, CommonChat):
            assert self._common is not None
            if (job := await self._common.chat_job(request, job_id, model)) is not None:
                self._by_kodify.inc()
                return job
            request = _validate(ChatCompletionRequest, msgspec.to_builtins(request))
        self._by_vllm.inc()
        return await self._full_chat_job(request, job_id, model)

    async def completion_job(self, request: CommonCompletion | CompletionRequest, job_id: str, model: str) -> Job:
        if isinstance(request, CommonCompletion):
            assert self._common is not None
            if (job := await self._common.completion_job(request, job_id, model)) is not None:
                self._by_kodify.inc()
                return job
            request = _validate(CompletionRequest, msgspec.to_builtins(request))
        self._by_vllm.inc()
        return await self._full_completion_job(request, job_id, model)

    async def _full_chat_job(self, request: ChatCompletionRequest, job_id: str, model: str) -> Job:
        asked = request.max_completion_tokens
        asked = request.max_tokens if asked is None else asked
        rendering = self.renderer.render_chat(self._renderable(request, asked))
        _, inputs = await _rendered(rendering, lambda: self._too_long_chat(request))
        top = request.top_logprobs or 0 if request.logprobs else None
        return self._job(request, job_id, model, inputs, asked, top)

    async def _full_completion_job(self, request: CompletionRequest, job_id: str, model: str) -> Job:
        rendering = self.renderer.render_completion(self._renderable(request, request.max_tokens))
        inputs = await _rendered(rendering, lambda: self._too_long_text(request))
        return self._job(request, job_id, model, inputs, request.max_tokens, request.logprobs)

    def _job(
        self, request: Any, job_id: str, model: str, inputs: list[Any], max_tokens: int | None, top: int | None
    ) -> Job:
        prompts = []
        sampling = []
        for engine_input in inputs:
            ids = engine_input.get("prompt_token_ids")
            if ids is None:
                raise BadRequestError("prompt_embeds are not served.", param="prompt_embeds")
            self._check_room(len(ids), max_tokens, request)
            prompts.append(Prompt(ids, engine_input.get("prompt")))
            try:
                limit = get_max_tokens(
                    self._config.max_model_len,
                    max_tokens,
                    len(ids),
                    self._defaults,
                    self._override_max_tokens,
                    truncate_prompt_tokens=request.truncate_prompt_tokens,
                )
                sampling.append(request.to_sampling_params(limit, self._defaults))
            except Exception as error:
                raise translate(error, from_request=True) from error
        plan = Plan(
            inputs=tuple(inputs),
            sampling=tuple(sampling),
            request=request,
            streamed=bool(request.stream),
            top_logprobs=top,
        )
        return Job(job_id, model, tuple(prompts), request.n or 1, plan)

    def _renderable(self, request: Any, max_tokens: int | None) -> Any:
        """The renderer refuses a `max_tokens` beyond the context by itself, in other words than the documented
        ones, which count the prompt's tokens too: it is not shown one."""
        if max_tokens is None or max_tokens <= self._config.max_model_len:
            return request
        return request.model_copy(update={"max_tokens": None, "max_completion_tokens": None})

    def _check_room(self, prompt_tokens: int, max_tokens: int | None, request: Any) -> None:
        context = self._config.max_model_len
        if prompt_tokens >= context and request.truncate_prompt_tokens is None and max_tokens != 0:
            raise _too_long(context, str(prompt_tokens))
        if max_tokens is not None and prompt_tokens + max_tokens > context:
            raise BadRequestError(
                f"This model's maximum context length is {context} tokens. However, you requested "
                f"{prompt_tokens + max_tokens} tokens ({prompt_tokens} in the messages, {max_tokens} in the "
                "completion). Please reduce the length of the messages or completion.",
                param="max_tokens",
            )

    async def _too_long_chat(self, request: ChatCompletionRequest) -> BadRequestError:
        params = request.build_chat_params(self.renderer.chat_template, self.renderer.chat_template_content_format)
        params = params.with_defaults(self.renderer.default_chat_template_kwargs)
        _, prompt = await self._engine.renderer.render_messages_async(request.messages, params)
        return await self._too_long_count([prompt.get("prompt") or prompt.get("prompt_token_ids") or ""])

    async def _too_long_text(self, request: CompletionRequest) -> BadRequestError:
        prompt = request.prompt
        one = isinstance(prompt, str) or (isinstance(prompt, list) and prompt and isinstance(prompt[0], int))
        return await self._too_long_count([prompt] if one else list(prompt or []))

    async def _too_long_count(self, prompts: list[Any]) -> BadRequestError:
        """The longest prompt's tokens, counted off the event loop: tokenizing a megabyte takes a second."""
        context = self._config.max_model_len
        longest = max(prompts, key=len)
        if not isinstance(longest, str):
            return _too_long(context, str(len(longest)))
        if len(longest) > MAX_COUNTED_CHARACTERS:
            return _too_long(context, f"more than {context}")
        tokenizer = self._engine.get_tokenizer()
        ids = await asyncio.to_thread(tokenizer.encode, longest, add_special_tokens=False)
        return _too_long(context, str(len(ids)))


def is_named_tool_choice(request: Any) -> bool:
    return isinstance(getattr(request, "tool_choice", None), ChatCompletionNamedToolChoiceParam)


def _require(body: dict[str, Any], *fields: str) -> None:
    for field in fields:
        if body.get(field) is None:
            raise missing(field, body)


def _validate(model: Any, body: dict[str, Any]) -> Any:
    try:
        return model.model_validate(body)
    except (ValidationError, VLLMError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        # vLLM's "before" validators read raw fields: odd ones surface as these, not as ValidationError.
        raise translate(error, from_request=True) from error


async def _rendered(rendering: Awaitable[Any], too_long: Callable[[], Awaitable[BadRequestError]]) -> Any:
    """What vLLM's renderer made; its refusals, raised or returned, as ours."""
    try:
        rendered = await rendering
    except Exception as error:
        if _is_too_long(error):
            raise await too_long() from None
        raise translate(error, from_request=True) from error
    if isinstance(rendered, ErrorResponse):
        raise BadRequestError(rendered.error.message, param=rendered.error.param)
    return rendered


def _is_too_long(error: Exception) -> bool:
    return isinstance(error, VLLMValidationError) and error.parameter in ("input_text", "input_tokens")


def _too_long(context: int, tokens: str) -> BadRequestError:
    return BadRequestError(
        f"This model's maximum context length is {context} tokens. However, you requested {tokens} tokens in the "
        "messages, Please reduce the length of the messages.",
        param="messages",
    )
