"""An agent's loop on OpenAI's responses, by its package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.integration.conftest import Process
from tests.integration.server.stories import CUT, CUT_TOKENS, FAMILIES, SCHEMAS, STORIES, Story, schema, text_of

TOOLS: Any = [{"type": "function", "name": name, "parameters": schema(name), "strict": False} for name in SCHEMAS]

each_family = pytest.mark.parametrize("family", FAMILIES)
each_story = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
each_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def agent(families: Process) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{families.url}/v1", api_key="none", max_retries=0, timeout=60) as found:
        yield found


def ask(agent: openai.OpenAI, streamed: bool, **fields: Any) -> Any:
    """The whole response, however it came; a stream's events tell the same as its last one."""
    fields = {"max_output_tokens": 600, "tools": TOOLS, **fields}
    if not streamed:
        return agent.responses.create(**fields)
    events: list[Any] = list(agent.responses.create(**fields, stream=True))
    response = events[-1].response
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.model_dump() for item in done] == [item.model_dump() for item in response.output]
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(pieces) == "".join(call.arguments for call in calls_of(response))
    return response


def calls_of(response: Any) -> list[Any]:
    return [item for item in response.output if item.type == "function_call"]


@each_way
@each_story
@each_family
def test_a_loop(agent: openai.OpenAI, family: str, story: Story, streamed: bool) -> None:
    given: list[Any] = [{"role": "user", "content": story.question}]
    for turn in story.turns:
        asked = ask(agent, streamed, model=family, input=given)
        calls = calls_of(asked)
        assert asked.status == "completed"
        assert [(call.name, json.loads(call.arguments)) for call in calls] == turn.asked
        assert asked.output_text.strip() == text_of(family, turn)
        given += asked.output
        for call, known in zip(calls, turn.calls, strict=True):
            given.append({"type": "function_call_output", "call_id": call.call_id, "output": known.result})
    told = ask(agent, streamed, model=family, input=given)
    assert (told.status, told.output_text, calls_of(told)) == ("completed", story.answer, [])


@each_way
@each_family
def test_a_call_that_is_cut_short(agent: openai.OpenAI, family: str, streamed: bool) -> None:
    response = ask(agent, streamed, model=family, input=CUT.question, max_output_tokens=CUT_TOKENS)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens == CUT_TOKENS
