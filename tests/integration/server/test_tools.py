"""Tools, as the guide's "Function Calling": the grammar makes even the built-in model call them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import openai
import pytest

from tests.integration.conftest import MODEL
from tests.integration.server.conftest import Spoken

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
def agent(spoken: Spoken) -> Iterator[openai.OpenAI]:
    with spoken.openai() as client:
        yield client


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


SCHEMAS: list[dict[str, Any]] = [
    {"a": {"type": "integer", "minimum": 0, "maximum": 9}},
    {"a": {"type": "number", "minimum": 0, "maximum": 1}},
    {"a": {"type": "boolean"}},
    {"a": {"type": "null"}},
    {"a": {"type": "string", "maxLength": 8}},
    {"a": {"type": "string", "pattern": "^[a-z]{2,5}$"}},
    {"a": {"type": "string", "enum": ["red", "green", "blue"]}},
    {"a": {"const": "always"}},
    {"a": {"enum": [1, "two", None]}},
    {"a": {"type": ["integer", "null"], "maximum": 9, "minimum": 0}},
    {"a": {"anyOf": [{"type": "boolean"}, {"enum": ["maybe"]}]}},
    {"a": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}},
    {"a": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2, "maxItems": 2}},
    {"a": {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"],
           "additionalProperties": False}},
    {"a": {"type": "boolean"}, "b": {"enum": ["C", "F"]}},
    {"a": {"$ref": "#/$defs/size"}, "$defs": {"size": {"enum": ["S", "M", "L"]}}},
    {"a": {"type": "string", "format": "date"}},
    {"Größe": {"type": "boolean"}},
    {"a b": {"enum": ["with space"]}},
    {"a": {"type": "array", "items": {"type": "array", "items": {"enum": [0, 1]}, "minItems": 1, "maxItems": 1},
           "minItems": 1, "maxItems": 1}},
]  # fmt: skip


@pytest.mark.parametrize("properties", SCHEMAS, ids=lambda properties: json.dumps(properties)[:40])
def test_required_arguments_are_valid(agent: openai.OpenAI, properties: dict[str, Any]) -> None:
    fields = {name: schema for name, schema in properties.items() if name != "$defs"}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
    if "$defs" in properties:
        schema["$defs"] = properties["$defs"]
    tools: Any = [{"type": "function", "function": {"name": "act", "strict": True, "parameters": schema}}]
    # Without the penalty the built-in model fills what JSON leaves free with blanks.
    fewer: Any = {"parallel_tool_calls": False, "frequency_penalty": 2}
    answer = agent.chat.completions.create(**CHAT, **fewer, tools=tools, tool_choice="required").choices[0]
    calls: Any = answer.message.tool_calls
    assert calls
    for call in calls:
        jsonschema.validate(json.loads(call.function.arguments), schema)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
BAD: list[dict[str, Any]] = [
    {"tools": TOOLS, "tool_choice": "sometimes"},
    {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "unknown"}}},
    {"tool_choice": "required"},
    {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "no such type"}}}],
     "tool_choice": "required"},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such type"}}}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/none"}}}},
    {"messages": [{"role": "user", "content": [IMAGE]}]},
]  # fmt: skip


@pytest.mark.parametrize("fields", BAD, ids=lambda fields: json.dumps(fields)[:60])
def test_bad_tools_and_schemas_are_refused(agent: openai.OpenAI, fields: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        agent.chat.completions.create(**{**CHAT, **fields})
    assert refused.value.message
    assert agent.chat.completions.create(**{**CHAT, "max_tokens": 4}).choices  # the server goes on


def test_a_schema_that_refers_to_itself_and_a_thousand_tools(agent: openai.OpenAI) -> None:
    """Answered or refused in words, and the server goes on."""
    node: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    many = [{"type": "function", "function": {"name": f"f{n}", "parameters": {"type": "object"}}} for n in range(1000)]
    for fields in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": node}}},
        {"tools": many},
        {"tools": many, "tool_choice": "required"},
    ):
        try:
            assert agent.chat.completions.create(**{**CHAT, "max_tokens": 50, **fields}).choices
        except openai.BadRequestError as refusal:
            assert refusal.message
        assert agent.chat.completions.create(**{**CHAT, "max_tokens": 4}).choices
