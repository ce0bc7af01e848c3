"""Anthropic's messages and OpenAI's responses where a censor checks, through the official clients."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
import psycopg
import pytest

from kodify.censor.windows import STEP
from tests.api.test_censor import Moderator
from tests.conftest import eventually, leave
from tests.integration.conftest import MODEL, start_kodify
from tests.integration.server.conftest import TOKEN, Spoken
from tests.journal.conftest import make_place

PATTERN = "forbidden"
NEVER = "said by nobody"
QUESTION = "Write a Python function `add`."
VARIED = "import os\nimport sys\n\nclass Reader:"  # before it repeats itself the model says more
SCHEMA = {"type": "object", "properties": {"unit": {"type": "string", "enum": ["C", "F"]}}, "required": ["unit"]}
UNAVAILABLE = "unable to complete your request"

DIALECTS = ["messages", "responses"]
WAYS = pytest.mark.parametrize(
    ("dialect", "stream"), [(dialect, stream) for dialect in DIALECTS for stream in (False, True)]
)


@dataclass
class Checked(Spoken):
    moderator: Moderator


@dataclass
class Told:
    text: str
    reason: str | None
    calls: list[str]
    request_id: str
    usage: Any


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    folder = tmp_path_factory.mktemp("checked")
    place = make_place(postgres, folder)
    moderator = Moderator()
    censor = {"url": moderator.url, "patterns": [PATTERN], "timeout_s": 2}
    (folder / "config.yml").write_text(json.dumps({"censor": censor}))
    arguments = "--enable-auto-tool-choice --tool-call-parser hermes"
    process = start_kodify(folder, ADDITIONAL_ARGS=arguments, VLLM_API_KEY=TOKEN, **place.environment)
    try:
        process.wait_until_healthy()
        yield Checked(process, place, moderator)
    finally:
        process.stop()
        moderator.stop()
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{place.variables["LOGS_DB_NAME"]}" WITH (FORCE)')


@pytest.fixture
def checked(server: Checked) -> Checked:
    moderator = server.moderator
    moderator.word, moderator.status, moderator.silent = NEVER, 200, False
    moderator.asked.clear()
    return server


def ask(checked: Checked, dialect: str, stream: bool, question: str = QUESTION, tokens: int = 200, **more: Any) -> Told:
    request_id = uuid.uuid4().hex
    headers = {"x-request-id": request_id}
    if dialect == "messages":
        asked: list[Any] = [{"role": "user", "content": question}]
        body: dict[str, Any] = {"model": MODEL, "messages": asked, "max_tokens": tokens, "extra_headers": headers}
        with checked.anthropic() as client:
            if stream:
                with client.messages.stream(**body, extra_body={"temperature": 0}, **more) as events:
                    message = events.get_final_message()
            else:
                message = client.messages.create(**body, extra_body={"temperature": 0}, **more)
        text = "".join(block.text for block in message.content if block.type == "text")
        calls = [block.name for block in message.content if block.type == "tool_use"]
        return Told(text, message.stop_reason, calls, request_id, message.usage)
    body = {"model": MODEL, "input": question, "max_output_tokens": tokens, "temperature": 0, "extra_headers": headers}
    with checked.openai() as other:
        if stream:
            told: list[Any] = list(other.responses.create(**body, stream=True, **more))
            response = told[-1].response
            assert [event.sequence_number for event in told] == list(range(len(told)))
            assert told[-1].type == ("response.incomplete" if flagged(response) else "response.completed")
            text = "".join(event.delta for event in told if event.type == "response.output_text.delta")
            assert text == response.output_text
        else:
            response = other.responses.create(**body, **more)
            text = response.output_text
    reason = response.incomplete_details.reason if response.incomplete_details else response.status
    return Told(
        text, reason, [item.name for item in response.output if "call" in item.type], request_id, response.usage
    )


def flagged(response: Any) -> bool:
    return response.incomplete_details is not None and response.incomplete_details.reason == "content_filter"


BLOCKED = {"messages": "refusal", "responses": "content_filter"}


def row(checked: Checked, told: Told) -> dict[str, Any]:
    found = checked.row(told.request_id)
    assert (found["status_code"], found["cancelled"]) == (200, False)
    assert (found["prompt_tokens"], found["completion_tokens"]) == (told.usage.input_tokens, told.usage.output_tokens)
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_not_flagged_is_told_and_all_of_it_was_checked(checked: Checked, dialect: str) -> None:
    streamed = ask(checked, dialect, True)
    assert any(QUESTION in text for _, text in checked.moderator.asked)
    asked = [text for _, text in checked.moderator.asked if QUESTION not in text]
    assert len(asked) > 1
    whole = ask(checked, dialect, False)
    assert (whole.text, whole.reason) == (streamed.text, streamed.reason)
    assert len(whole.text) > 300
    covered = asked[0]
    for window in asked[1:]:
        overlap = next(size for size in range(min(len(window), 100), -1, -1) if covered.endswith(window[:size]))
        covered += window[overlap:]
    assert covered.startswith(whole.text)
    assert row(checked, whole)["finish_reason"] == row(checked, streamed)["finish_reason"] == "length"


@WAYS
@pytest.mark.parametrize("kind", ["pattern", "elsewhere"])
def test_a_flagged_prompt_is_refused_without_the_engine(
    checked: Checked, dialect: str, stream: bool, kind: str
) -> None:
    checked.moderator.word = "indecent"
    word = PATTERN if kind == "pattern" else "indecent"
    told = ask(checked, dialect, stream, f"Say something {word}.")
    assert (told.text, told.reason, told.usage.output_tokens) == ("", BLOCKED[dialect], 0)
    assert told.usage.input_tokens > 0
    assert row(checked, told)["finish_reason"] == "content_filter"


@WAYS
def test_a_flagged_answer_ends_before_the_passage(checked: Checked, dialect: str, stream: bool) -> None:
    plain = ask(checked, dialect, False, VARIED, tokens=130).text
    checked.moderator.word = passage = new_passage(plain, STEP + 30)
    told = ask(checked, dialect, stream, VARIED, tokens=3900 if stream else 130)
    assert told.reason == BLOCKED[dialect]
    assert plain.startswith(told.text)
    assert len(told.text) <= plain.index(passage)
    assert bool(told.text) == stream
    found = row(checked, told)
    assert found["finish_reason"] == "content_filter"
    assert 0 < found["completion_tokens"] < 3900
    eventually(lambda: checked.running() == 0)


def new_passage(text: str, after: int) -> str:
    """One that does not stand in `text` before so many characters."""
    passages = (text[start : start + 30] for start in range(after, len(text) - 30))
    return next(passage for passage in passages if text.index(passage) >= after)


FORCED: dict[str, dict[str, Any]] = {
    "messages": {
        "tools": [{"name": "get_weather", "input_schema": SCHEMA, "strict": True}],
        "tool_choice": {"type": "tool", "name": "get_weather"},
    },
    "responses": {
        "tools": [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}],
        "tool_choice": {"type": "function", "name": "get_weather"},
    },
}


@WAYS
def test_a_flagged_call_is_not_made(checked: Checked, dialect: str, stream: bool) -> None:
    assert ask(checked, dialect, stream, **FORCED[dialect]).calls == ["get_weather"]
    checked.moderator.word = '"unit"'
    told = ask(checked, dialect, stream, **FORCED[dialect])
    assert (told.text, told.calls, told.reason) == ("", [], BLOCKED[dialect])
    assert row(checked, told)["finish_reason"] == "content_filter"


@WAYS
def test_without_a_verdict_there_is_no_answer(checked: Checked, dialect: str, stream: bool) -> None:
    checked.moderator.status = 500
    with pytest.raises((anthropic.APIStatusError, openai.APIStatusError), match=UNAVAILABLE) as caught:
        ask(checked, dialect, stream)
    error: Any = caught.value
    answer: httpx.Response = error.response
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_without_further_verdicts_ends_with_an_error(checked: Checked, dialect: str) -> None:
    path, body = PATHS[dialect]
    with checked.client() as client, client.stream("POST", path, json={**body, "stream": True}) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        while "delta" not in next(lines):
            pass
        checked.moderator.status = 502
        rest = [line for line in lines if line]
    assert rest[-2] == "event: error"
    error = json.loads(rest[-1].removeprefix("data: "))["error"]
    assert (error["code"], UNAVAILABLE in error["message"]) == (503, True)
    eventually(lambda: checked.running() == 0)


PATHS: dict[str, tuple[str, dict[str, Any]]] = {
    "messages": (
        "/v1/messages",
        {"model": MODEL, "max_tokens": 3900, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0},
    ),
    "responses": (
        "/v1/responses",
        {"model": MODEL, "max_output_tokens": 3900, "input": QUESTION, "temperature": 0},
    ),
}


@WAYS
def test_the_engine_stops_when_the_client_leaves(checked: Checked, dialect: str, stream: bool) -> None:
    path, body = PATHS[dialect]
    found = checked.leave(path, {**body, "stream": stream}, after="delta" if stream else None)
    assert (found["status_code"], found["cancelled"]) == (499, True)
    assert bool(found["completion_tokens"]) == stream  # vLLM tells of a whole answer's only at its end


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_that_leaves_while_its_prompt_is_checked(checked: Checked, dialect: str) -> None:
    checked.moderator.silent = True
    path, body = PATHS[dialect]
    request_id = uuid.uuid4().hex
    leave(checked.process.url, path, body, lambda: bool(checked.moderator.asked), **checked.headers(request_id))
    found = checked.row(request_id)
    assert (found["status_code"], found["completion_tokens"]) == (499, 0)


def test_what_says_nothing_needs_no_censor(checked: Checked) -> None:
    checked.moderator.status = 500
    with checked.anthropic() as client:
        asked: Any = [{"role": "user", "content": PATTERN}]
        assert client.messages.count_tokens(model=MODEL, messages=asked).input_tokens > 0
    with checked.client() as plain:
        assert plain.post("/tokenize", json={"model": MODEL, "prompt": PATTERN}).status_code == 200
