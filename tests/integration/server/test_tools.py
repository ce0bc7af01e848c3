"""Tools, as the guide's "Function Calling": the grammar makes even the built-in model call them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.integration.conftest import MODEL, Process, start_kodify

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tells the weather in a city",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {
                    "unit": {"type": "string", "enum": ["C", "F"]},
                    "days": {"type": "integer", "maximum": 9},
                },
                "required": ["unit", "days"],
                "additionalProperties": False,
            },
        },
    }
]
NAMED: Any = {"type": "function", "function": {"name": "get_weather"}}
CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "How warm is it?"}],
    "max_tokens": 200,
    "temperature": 0,
}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    arguments = "--enable-auto-tool-choice --tool-call-parser hermes"
    process: Process = start_kodify(tmp_path_factory.mktemp("tools"), ADDITIONAL_ARGS=arguments)
    try:
        process.wait_until_healthy()
        with openai.OpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
            yield client
    finally:
        process.stop()


def arguments_of(text: str) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(text)
    assert given["unit"] in ("C", "F")
    assert isinstance(given["days"], int)
    return given


@pytest.mark.parametrize(("choice", "reason"), [("required", "tool_calls"), (NAMED, "stop")])
def test_a_tool_is_called_whole_and_streamed(agent: openai.OpenAI, choice: Any, reason: str) -> None:
    whole = agent.chat.completions.create(**CHAT, tools=TOOLS, tool_choice=choice).choices[0]
    assert whole.finish_reason == reason
    calls: Any = whole.message.tool_calls
    assert calls[0].function.name == "get_weather"
    assert calls[0].id
    expected = arguments_of(calls[0].function.arguments)
    name, text, last = "", "", None
    for chunk in agent.chat.completions.create(**CHAT, tools=TOOLS, tool_choice=choice, stream=True):
        delta: Any = chunk.choices[0].delta
        last = chunk.choices[0].finish_reason or last
        for call in delta.tool_calls or []:
            if call.index == 0:
                name += call.function.name or ""
                text += call.function.arguments or ""
    assert (name, last) == ("get_weather", reason)
    assert arguments_of(text) == expected


def test_tools_with_choice_none_and_auto_answer_in_text(agent: openai.OpenAI) -> None:
    for choice in ("none", "auto"):
        fields = {**CHAT, "max_tokens": 16}
        answer = agent.chat.completions.create(**fields, tools=TOOLS, tool_choice=choice).choices[0]
        assert answer.message.content
        assert not answer.message.tool_calls
