"""Tool calls and reasoning out of the model's text, by vLLM's parsers."""

from __future__ import annotations

from typing import Any

import msgspec
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.renderers.chat_utils import make_tool_call_id
from vllm.renderers.online_renderer import OnlineRenderer

from kodify.engine.base import Delta, Prompt, ToolCallDelta
from kodify.engine.vllm_plan import Plan
from kodify.engine.vllm_requests import is_named_tool_choice


class ChoiceParser:
    """One choice's parser: stateful in a stream."""

    def __init__(self, parser: Any, plan: Plan, prompt: Prompt, enable_auto_tools: bool) -> None:
        self._parser = parser
        self._request = plan.request
        self._prompt = prompt
        self._enable_auto_tools = enable_auto_tools
        self._called = False

    def parse(self, delta: Delta, *, whole: bool) -> Delta:
        calls: tuple[ToolCallDelta, ...]
        if whole:
            self._parser.set_prompt_token_ids(self._prompt.token_ids)
            reasoning, text, found = self._parser.parse(
                delta.text,
                self._request,
                enable_auto_tools=self._enable_auto_tools,
                model_output_token_ids=delta.token_ids,
            )
            calls = tuple(
                ToolCallDelta(index, call.id or make_tool_call_id(), call.name, call.arguments)
                for index, call in enumerate(found or ())
            )
        else:
            message = self._parser.parse_delta(
                delta_text=delta.text,
                delta_token_ids=list(delta.token_ids),
                request=self._request,
                prompt_token_ids=self._prompt.token_ids,
                finished=delta.finish_reason is not None,
            )
            reasoning, text, calls = None, "", ()
            if message is not None:
                reasoning, text = message.reasoning, message.content
                calls = tuple(
                    ToolCallDelta(
                        call.index,
                        call.id,
                        call.function.name if call.function else None,
                        call.function.arguments if call.function else None,
                    )
                    for call in message.tool_calls
                )
        if self._request.parallel_tool_calls is False:
            calls = tuple(call for call in calls if call.index == 0)
        self._called = self._called or bool(calls)
        reason = delta.finish_reason
        if reason == "stop" and self._called and not is_named_tool_choice(self._request):
            reason = "tool_calls"
        return msgspec.structs.replace(
            delta,
            text=text or "",
            reasoning=reasoning if self._request.include_reasoning else None,
            tool_calls=calls,
            finish_reason=reason,
        )


class ParserFactory:
    def __init__(self, renderer: OnlineRenderer, tokenizer: Any, model_config: Any) -> None:
        self._renderer = renderer
        self._tokenizer = tokenizer
        self._model_config = model_config

    def build(self, plan: Plan, prompt: Prompt) -> ChoiceParser | None:
        """None where the model's text needs no parsing: no parser is configured, or it is no chat."""
        parser = self._parser(plan)
        return None if parser is None else ChoiceParser(parser, plan, prompt, self._renderer.enable_auto_tools)

    def engine_kwargs(self, plan: Plan, prompt: Prompt) -> dict[str, Any]:
        """What `generate()` must know so that structured output starts after the reasoning."""
        parser = self._parser(plan)
        if parser is None:
            return {}
        kwargs: dict[str, Any] = {"reasoning_ended": plan.request.resolve_reasoning_ended(parser, prompt.token_ids)}
        if parser.reasoning_parser is not None:
            template_kwargs = self._renderer.effective_chat_template_kwargs(plan.request)
            kwargs["reasoning_parser_kwargs"] = {"chat_template_kwargs": template_kwargs}
        return kwargs

    def _parser(self, plan: Plan) -> Any:
        parser_class = self._renderer.parser
        if parser_class is None or not isinstance(plan.request, ChatCompletionRequest):
            return None
        return parser_class(
            self._tokenizer,
            plan.request.tools,
            chat_template_kwargs=self._renderer.effective_chat_template_kwargs(plan.request),
            model_config=self._model_config,
        )
