"""An agent's loop by Anthropic's package: on its own messages, and by its tool runner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.lib.tools import ToolError

from tests.integration.conftest import Process
from tests.integration.server.stories import (
    CUT,
    CUT_TOKENS,
    FAMILIES,
    SCHEMAS,
    STORIES,
    Story,
    schema,
    text_of,
)

TOOLS: Any = [{"name": name, "input_schema": schema(name)} for name in SCHEMAS]

each_family = pytest.mark.parametrize("family", FAMILIES)
each_story = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
each_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def agent(families: Process) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=families.url, api_key="none", max_retries=0, timeout=60) as found:
        yield found


def ask(agent: anthropic.Anthropic, streamed: bool, **fields: Any) -> Any:
    """The whole message, however it came."""
    fields = {"max_tokens": 600, "tools": TOOLS, **fields}
    if not streamed:
        return agent.messages.create(**fields)
    with agent.messages.stream(**fields) as stream:
        return stream.get_final_message()


def said(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@each_way
@each_story
@each_family
def test_a_loop(agent: anthropic.Anthropic, family: str, story: Story, streamed: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": story.question}]
    for turn in story.turns:
        asked = ask(agent, streamed, model=family, messages=messages)
        calls = [block for block in asked.content if block.type == "tool_use"]
        assert asked.stop_reason == "tool_use"
        assert [(call.name, call.input) for call in calls] == turn.asked
        assert said(asked).strip() == text_of(family, turn)
        assert len({call.id for call in calls}) == len(calls)
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": known.result, "is_error": known.failed}
            for call, known in zip(calls, turn.calls, strict=True)
        ]
        messages += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": results}]
    told = ask(agent, streamed, model=family, messages=messages)
    assert (told.stop_reason, said(told), len(told.content)) == ("end_turn", story.answer, 1)


@pytest.mark.parametrize(
    "thread",
    [
        pytest.param({"thread": False}, id="without-thread"),
        pytest.param({}, id="thread"),
    ],
)
@each_way
@each_story
@each_family
def test_the_packages_own_tool_runner(
    agent: anthropic.Anthropic, family: str, story: Story, streamed: bool, thread: dict[str, Any]
) -> None:
    """By default it asks the server to keep the conversation, and goes on without where it is told that it can't."""
    made: list[tuple[str, dict[str, Any]]] = []
    runner = agent.beta.messages.tool_runner(
        model=family,
        max_tokens=600,
        messages=[{"role": "user", "content": story.question}],
        tools=[runnable(name, story, made) for name in SCHEMAS],
        stream=streamed,
        **thread,
    )
    told: Any = runner.until_done()
    assert made == [(call.name, call.arguments) for call in story.calls]
    assert (told.stop_reason, said(told)) == ("end_turn", story.answer)


def runnable(name: str, story: Story, made: list[tuple[str, dict[str, Any]]]) -> Any:
    """A tool of the package's, which knows what the story says comes of each call."""

    def run(**arguments: Any) -> str:
        made.append((name, arguments))
        (known,) = [call for call in story.calls if (call.name, call.arguments) == (name, arguments)]
        if known.failed:
            raise ToolError(known.result)
        return known.result

    return anthropic.beta_tool(run, name=name, description="", input_schema=schema(name))


@each_way
@each_family
def test_a_call_that_is_cut_short(agent: anthropic.Anthropic, family: str, streamed: bool) -> None:
    messages = [{"role": "user", "content": CUT.question}]
    message = ask(agent, streamed, model=family, messages=messages, max_tokens=CUT_TOKENS)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == CUT_TOKENS
    assert [block.name for block in message.content if block.type == "tool_use"] in ([], ["edit_file"])


@pytest.mark.parametrize(
    "choice", [{"type": "tool", "name": "unknown"}, {"type": "tool"}, {"type": "sometimes"}], ids=str
)
@each_way
def test_an_unknown_tool_choice_is_refused(agent: anthropic.Anthropic, streamed: bool, choice: Any) -> None:
    messages = [{"role": "user", "content": STORIES["two-at-once"].question}]
    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(agent, streamed, model="hermes", messages=messages, tool_choice=choice)
    body: Any = refused.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert body["error"]["message"]
