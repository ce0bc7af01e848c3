"""An agent's loop: the model asks for tools, the agent runs them, the model answers. Real tool-call text of several
model families, said by an executor without a model, through vLLM's engine and parsers and the official packages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from kodify.settings import NANO_PATH
from tests.integration.conftest import MODEL, start_kodify
from tests.integration.server.scripted_executor import SCRIPT_VARIABLE

ROOT = Path(__file__).parents[3]
EXECUTOR = "--distributed-executor-backend tests.integration.server.scripted_executor.ScriptedExecutor"
QUESTION, RESULT, ANSWER = "How warm is it in Kazan and in Omsk?", "degrees", "It is 21 degrees in Kazan and 7 in Omsk."
CALLS = [("get_weather", {"city": "Kazan", "days": 1}), ("get_weather", {"city": "Omsk", "days": 2})]


def _hermes(name: str, arguments: dict[str, Any]) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>\n"


def _llama(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "parameters": arguments})


def _qwen(name: str, arguments: dict[str, Any]) -> str:
    told = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{told}</function>\n</tool_call>\n"


TEXTS = {
    "hermes": "".join(_hermes(*call) for call in CALLS),
    "llama3_json": "; ".join(_llama(*call) for call in CALLS),
    "qwen3_coder": "".join(_qwen(*call) for call in CALLS),
}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        },
    }
]


@dataclass
class Agent:
    sdk: openai.OpenAI
    url: str


@pytest.fixture(scope="module", params=list(TEXTS))
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp(request.param)
    script = folder / "script.json"
    script.write_text(json.dumps([["", "?"], [QUESTION, TEXTS[request.param]], [RESULT, ANSWER]]))
    tokenizer = f"--tokenizer {llama_tokenizer(folder)}" if request.param.startswith("llama") else ""
    process = start_kodify(
        folder,
        ADDITIONAL_ARGS=f"--enable-auto-tool-choice --tool-call-parser {request.param} {EXECUTOR} {tokenizer}",
        PYTHONPATH=str(ROOT),
        **{SCRIPT_VARIABLE: str(script)},
    )
    try:
        process.wait_until_healthy()
        with openai.OpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0, timeout=60) as sdk:
            yield Agent(sdk, process.url)
    finally:
        process.stop()


def llama_tokenizer(folder: Path) -> Path:
    """The built-in model's, with the token that the parser of Llama's calls asks for."""
    own = folder / "tokenizer"
    own.mkdir()
    for path in (*NANO_PATH.glob("tokenizer*.json"), *NANO_PATH.glob("*.jinja")):
        (own / path.name).write_text(path.read_text(encoding="utf-8").replace("<|fim_pad|>", "<|python_tag|>"))
    return own


def weather(arguments: dict[str, Any]) -> str:
    return f"{ {'Kazan': 21, 'Omsk': 7}[arguments['city']] } {RESULT}"


def test_a_loop_through_whole_answers(agent: Agent) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    asked = agent.sdk.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, max_tokens=300).choices[0]
    calls: Any = asked.message.tool_calls
    assert asked.finish_reason == "tool_calls"
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == CALLS
    messages.append(asked.message.model_dump(exclude_none=True))
    for call in calls:
        content = weather(json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
    told = agent.sdk.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, max_tokens=300).choices[0]
    assert (told.finish_reason, told.message.content) == ("stop", ANSWER)


def test_a_loop_through_streams(agent: Agent) -> None:
    fields: Any = {"model": MODEL, "tools": TOOLS, "max_tokens": 300, "stream": True}
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    calls: dict[int, dict[str, str]] = {}
    reason = None
    for chunk in agent.sdk.chat.completions.create(messages=messages, **fields):
        choice = chunk.choices[0]
        reason = choice.finish_reason or reason
        for piece in choice.delta.tool_calls or []:
            call = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += piece.id or ""
            call["name"] += piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""
    assert reason == "tool_calls"
    assert [(call["name"], json.loads(call["arguments"])) for call in calls.values()] == CALLS
    told = [
        {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
        for c in calls.values()
    ]
    messages.append({"role": "assistant", "content": None, "tool_calls": told})
    for call in calls.values():
        content = weather(json.loads(call["arguments"]))
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in agent.sdk.chat.completions.create(messages=messages, **fields)
        if chunk.choices
    )
    assert text == ANSWER
