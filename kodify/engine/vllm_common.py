"""The request bodies that plugins send all day, read and rendered without vLLM's pydantic models.

Plain chats and plain completions are most of the load, and for them validation and rendering by vLLM's own code cost
several times what the rest of the request does. A body that fits these strict shapes is read by msgspec and rendered
in place, by the same compiled template, tokenizer and sampling parameters; for anything else `parse_*` and `*_job`
return None, and vLLM's models take it, with their own errors. Whoever uses it compares both ways once, on the samples.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import vllm.envs
from msgspec import Meta
from transformers.utils.chat_template_utils import _compile_jinja_template
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.serve.utils.api_utils import get_max_tokens
from vllm.exceptions import VLLMError
from vllm.inputs.engine import tokens_input
from vllm.parser.abstract_parser import DelegatingParser
from vllm.renderers.hf import (
    HfRenderer,
    resolve_chat_template,
    resolve_chat_template_content_format,
    resolve_chat_template_kwargs,
)
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.sampling_params import RequestOutputKind, SamplingParams

from kodify.engine.base import Job, Prompt
from kodify.engine.vllm_plan import Plan
from kodify.engine.vllm_tokenizer import PlainTokenizer

# vLLM's renderer takes a line that starts so out of a system message.
BILLING_LINE = "x-anthropic-billing-header"

_MESSAGES: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Sort a list in Python."}],
    [
        {"role": "system", "content": "Be brief.\n"},
        {"role": "user", "content": " Größe, 大きさ, \U0001f600 <|im_end|> "},
    ],
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b\n\n"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
    ],
]
_NUMBERS: dict[str, Any] = {
    "temperature": 0.3,
    "top_p": 0.9,
    "top_k": 40,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "repetition_penalty": 1.1,
    "seed": 7,
    "stop": ["\n\n", "</s>"],
    "max_tokens": 33,
    "ignore_eos": True,
}
# Bodies without a model's name, on which both ways must agree.
SAMPLE_CHATS: list[dict[str, Any]] = [
    *({"messages": messages} for messages in _MESSAGES),
    {"messages": _MESSAGES[0], "stream": True, "stop_token_ids": [5], "n": 1, **_NUMBERS},
    {"messages": _MESSAGES[0], "temperature": 0, "max_completion_tokens": 8, "stop": "x"},
]
SAMPLE_COMPLETIONS: list[dict[str, Any]] = [
    {"prompt": "def größe(x):\n    return"},
    {"prompt": "x = 1", "stream": True, **_NUMBERS},
    {"prompt": [1, 2, 3], "max_tokens": None},
]

Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class _Common(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What chats and completions share. Some fields are here only to be null or off."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    n: Literal[1] | None = 1
    user: str | None = None
    max_tokens: int | None = None
    logprobs: None = None
    echo: Literal[False] = False
    logit_bias: None = None
    response_format: None = None


class TextPart(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart]


class CommonChat(_Common, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    logprobs: Literal[False] | None = None  # type: ignore[assignment]
    max_completion_tokens: int | None = None
    tools: None = None
    tool_choice: Literal["none"] | None = None
    parallel_tool_calls: bool | None = None


class CommonCompletion(_Common, kw_only=True):
    prompt: str | list[Any]
    n: Literal[1] = 1
    suffix: str | None = None
    best_of: Literal[1] | None = None


Shape = TypeVar("Shape", CommonChat, CommonCompletion)


class CommonReader:
    """What the requests to one engine share. Chats are read only where the model's template allows it."""

    def __init__(self, engine: Any, renderer: OnlineRenderer, override_max_tokens: int | None) -> None:
        config, tokenizer = engine.model_config, engine.get_tokenizer()
        self._context: int = config.max_model_len
        self._vocabulary_size: int = config.get_vocab_size()
        self._defaults: dict[str, Any] = config.get_diff_sampling_param()
        self._override_max_tokens = override_max_tokens
        own = ChatCompletionRequest._DEFAULT_SAMPLING_PARAMS.default
        self._sampling_defaults = {name: self._defaults.get(name, default) for name, default in own.items()}
        self._stop_ids: list[int] = list(self._defaults.get("stop_token_ids") or ())
        self._most_stops: int = vllm.envs.VLLM_MAX_STOP_STRINGS
        self._most_prompts: int = vllm.envs.VLLM_MAX_COMPLETION_PROMPTS
        self._tokenizer = PlainTokenizer(tokenizer)
        self._most_characters: int = self._context * tokenizer.max_chars_per_token
        self._render: Callable[[list[dict[str, Any]]], str] | None = None
        self._wrap = False  # whether the template walks a message's parts
        if _is_plain_chat(renderer):
            self._prepare_template(config, renderer, tokenizer)

    @staticmethod
    def suits(engine: Any, renderer: OnlineRenderer) -> bool:
        """A text model that is told tokens, through Hugging Face's tokenizer."""
        config = engine.model_config
        plain = not (config.is_multimodal_model or config.is_encoder_decoder or config.enable_prompt_embeds)
        return plain and isinstance(engine.renderer, HfRenderer) and hasattr(engine.get_tokenizer(), "_tokenizer")

    def parse_chat(self, body: dict[str, Any]) -> CommonChat | None:
        return self._parse(body, CommonChat) if self._render is not None else None

    def parse_completion(self, body: dict[str, Any]) -> CommonCompletion | None:
        request = self._parse(body, CommonCompletion)
        if request is not None and isinstance(request.prompt, list):
            kinds = set(map(type, request.prompt))
            if len(kinds) != 1 or (kinds != {int} and len(request.prompt) > self._most_prompts):
                return None
        return request

    def _parse(self, body: dict[str, Any], shape: type[Shape]) -> Shape | None:
        try:
            request = msgspec.convert(body, shape)
        except (msgspec.ValidationError, OverflowError):
            return None
        if request.stream_options is not None and not request.stream:
            return None
        if isinstance(request.stop, list) and len(request.stop) > self._most_stops:
            return None
        return request

    async def chat_job(self, request: CommonChat, job_id: str, model: str) -> Job | None:
        assert self._render is not None
        conversation = []
        for message in request.messages:
            if message.role == "system" and BILLING_LINE in str(message.content):
                return None
            conversation.append({"role": message.role, "content": self._content(message.content)})
        try:
            text = self._render(conversation)
        except Exception:  # a template may refuse a conversation: then in vLLM's words
            return None
        asked = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
        return await self._job(request, job_id, model, [text], asked, special_tokens=False)

    async def completion_job(self, request: CommonCompletion, job_id: str, model: str) -> Job | None:
        prompt = request.prompt
        one = isinstance(prompt, str) or (prompt and isinstance(prompt[0], int))
        asked = 16 if request.max_tokens is None else request.max_tokens
        return await self._job(request, job_id, model, [prompt] if one else prompt, asked, special_tokens=True)

    def _content(self, content: str | list[TextPart]) -> str | list[dict[str, str]]:
        """As vLLM hands it to the template: parts where the template walks them, otherwise one text."""
        if self._wrap:
            texts = [content] if isinstance(content, str) else [part.text for part in content]
            return [{"type": "text", "text": text} for text in texts]
        return content if isinstance(content, str) else "\n".join(part.text for part in content if part.text)

    async def _job(
        self,
        request: CommonChat | CommonCompletion,
        job_id: str,
        model: str,
        texts: Any,
        asked: int | None,
        *,
        special_tokens: bool,
    ) -> Job | None:
        """None where a prompt is empty, is none or does not fit, or a number is out of its range: vLLM's way has the
        words for it."""
        arrived = time.time()
        in_place = sum(len(text) for text in texts if isinstance(text, str)) <= self._tokenizer.quick_characters
        prompts, inputs, sampling = [], [], []
        for text in texts:
            ids = await self._tokenize(text, special_tokens, in_place)
            if not ids or len(ids) + (asked or 1) > self._context:
                return None
            prompt = text if isinstance(text, str) else None
            engine_input = tokens_input(ids, prompt=prompt)
            engine_input["arrival_time"] = arrived
            inputs.append(engine_input)
            prompts.append(Prompt(ids, prompt))
            try:
                sampling.append(self._sampling(request, asked, len(ids)))
            except (VLLMError, ValueError, TypeError, OverflowError):
                return None
        if not prompts:
            return None
        plan = Plan(tuple(inputs), tuple(sampling), request, bool(request.stream), common=True)
        return Job(job_id, model, tuple(prompts), 1, plan)

    async def _tokenize(self, text: Any, special_tokens: bool, in_place: bool) -> list[int] | None:
        if isinstance(text, str):
            if len(text) > self._most_characters:
                return None
            if in_place:
                return self._tokenizer.encode(text, special_tokens=special_tokens)
            return await asyncio.to_thread(self._tokenizer.encode, text, special_tokens=special_tokens)
        if isinstance(text, list) and set(map(type, text)) == {int} and 0 <= min(text) <= max(text):
            return text if max(text) < self._vocabulary_size else None
        return None

    def _sampling(
        self, request: CommonChat | CommonCompletion, asked: int | None, prompt_tokens: int
    ) -> SamplingParams:
        """As `to_sampling_params` of vLLM's models: the request's value, the model's default, OpenAI's."""
        chosen = {
            name: default if (value := getattr(request, name, None)) is None else value
            for name, default in self._sampling_defaults.items()
        }
        stop_ids = request.stop_token_ids or []
        if self._stop_ids:
            stop_ids = list(dict.fromkeys([*stop_ids, *self._stop_ids]))
        return SamplingParams(
            **chosen,
            seed=request.seed,
            stop=request.stop,
            stop_token_ids=stop_ids,
            ignore_eos=request.ignore_eos,
            max_tokens=get_max_tokens(self._context, asked, prompt_tokens, self._defaults, self._override_max_tokens),
            output_kind=RequestOutputKind.DELTA if request.stream else RequestOutputKind.FINAL_ONLY,
            skip_clone=True,  # made for this request alone
        )

    def _prepare_template(self, config: Any, renderer: OnlineRenderer, tokenizer: Any) -> None:
        """The template and its arguments as vLLM and transformers resolve them for a chat without tools."""
        plain = ChatCompletionRequest(model="any", messages=[{"role": "user", "content": "any"}])
        params = plain.build_chat_params(renderer.chat_template, renderer.chat_template_content_format)
        arguments = {**(renderer.default_chat_template_kwargs or {}), **params.chat_template_kwargs}
        template = resolve_chat_template(tokenizer, params.chat_template, None, model_config=config)
        if template is None:
            return
        self._wrap = (
            resolve_chat_template_content_format(
                params.chat_template, None, renderer.chat_template_content_format, tokenizer, model_config=config
            )
            == "openai"
        )
        arguments = resolve_chat_template_kwargs(tokenizer, template, arguments)
        if arguments.pop("continue_final_message", False):
            return
        arguments = {"tools": None, "documents": None, **tokenizer.special_tokens_map, **arguments}
        compiled = _compile_jinja_template(template)
        self._render = lambda conversation: compiled.render(messages=conversation, **arguments)


def _is_plain_chat(renderer: OnlineRenderer) -> bool:
    """No parser has to look at the text of a chat without tools."""
    if renderer.use_harmony:
        return False
    parser = renderer.parser
    if parser is None:
        return True
    if not issubclass(parser, DelegatingParser) or parser.reasoning_parser_cls is not None:
        return False
    tool_parser = parser.tool_parser_cls
    return not (parser.always_adjust_request or getattr(tool_parser, "engine_based_streaming", False))
