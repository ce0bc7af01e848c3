"""An agent's loop: the model asks for tools, the agent runs them, the model answers. Real tool-call text of several
model families, said by an executor without a model, through vLLM's engine and parsers and OpenAI's package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.integration.conftest import Process
from tests.integration.server.stories import CUT, CUT_TOKENS, FAMILIES, SCHEMAS, STORIES, Story, schema, text_of

TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": schema(name)}} for name in SCHEMAS]

pytestmark = pytest.mark.parametrize("family", FAMILIES)
each_story = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)


@pytest.fixture(scope="module")
def agent(families: Process) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{families.url}/v1", api_key="none", max_retries=0, timeout=60) as found:
        yield found


@each_story
def test_a_loop_through_whole_answers(agent: openai.OpenAI, family: str, story: Story) -> None:
    fields: Any = {"model": family, "tools": TOOLS, "max_tokens": 600}
    messages: list[Any] = [{"role": "user", "content": story.question}]
    for turn in story.turns:
        asked = agent.chat.completions.create(messages=messages, **fields).choices[0]
        calls: Any = asked.message.tool_calls
        assert asked.finish_reason == "tool_calls"
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == turn.asked
        assert (asked.message.content or "").strip() == text_of(family, turn)
        messages.append(asked.message.model_dump(exclude_none=True))
        for call, known in zip(calls, turn.calls, strict=True):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": known.result})
    told = agent.chat.completions.create(messages=messages, **fields).choices[0]
    assert (told.finish_reason, told.message.content) == ("stop", story.answer)


@each_story
def test_a_loop_through_streams(agent: openai.OpenAI, family: str, story: Story) -> None:
    messages: list[Any] = [{"role": "user", "content": story.question}]
    for turn in story.turns:
        text, calls, reason = streamed(agent, family, messages)
        assert reason == "tool_calls"
        assert [(call["name"], json.loads(call["arguments"])) for call in calls] == turn.asked
        assert text.strip() == text_of(family, turn)
        told = [{"id": call.pop("id"), "type": "function", "function": call} for call in calls]
        messages.append({"role": "assistant", "content": text or None, "tool_calls": told})
        for one, known in zip(told, turn.calls, strict=True):
            messages.append({"role": "tool", "tool_call_id": one["id"], "content": known.result})
    assert streamed(agent, family, messages) == (story.answer, [], "stop")


def test_a_call_that_is_cut_short(agent: openai.OpenAI, family: str) -> None:
    messages: list[Any] = [{"role": "user", "content": CUT.question}]
    whole = agent.chat.completions.create(model=family, messages=messages, tools=TOOLS, max_tokens=CUT_TOKENS)
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == CUT_TOKENS
    _, calls, reason = streamed(agent, family, messages, max_tokens=CUT_TOKENS)
    assert (reason, [call["name"] for call in calls]) == ("length", ["edit_file"])


def streamed(
    agent: openai.OpenAI, family: str, messages: list[Any], max_tokens: int = 600
) -> tuple[str, list[dict[str, str]], str | None]:
    """(text, calls, finish reason) put together from a stream, as agents do it."""
    text, reason = "", None
    calls: dict[int, dict[str, str]] = {}
    for chunk in agent.chat.completions.create(
        model=family, messages=messages, tools=TOOLS, max_tokens=max_tokens, stream=True
    ):
        choice = chunk.choices[0]
        reason = choice.finish_reason or reason
        text += choice.delta.content or ""
        for piece in choice.delta.tool_calls or []:
            call = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += piece.id or ""
            if piece.function is not None:
                call["name"] += piece.function.name or ""
                call["arguments"] += piece.function.arguments or ""
    return text, list(calls.values()), reason
