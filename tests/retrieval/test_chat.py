"""`retrieval` on chats: passages in the prompt, sources in the answer, whole and streamed."""

from __future__ import annotations

import json
from typing import Any, cast

import openai
import pytest

from kodify.engine.scripted import ScriptedEngine
from kodify.engines import Engines
from tests import conftest
from tests.api.test_errors import assert_error
from tests.retrieval.conftest import People, Start, fill

PATH = "/v1/chat/completions"
ASK: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Are pears sweet?"}],
    "retrieval": {"collection": "notes"},
}


@pytest.fixture
def served(start: Start) -> conftest.Served:
    found = start({"k": 2})
    fill(found, "notes", {"a.md": "# Pears\n\nPears are sweet.", "b.md": "# Iron\n\nIron is hard.", "c.md": "# X\n\nx"})
    return found


def prompt(served: conftest.Served) -> str:
    engine = cast(ScriptedEngine, cast(Engines, served.engine).all[0].engine)
    return engine.jobs[-1].prompts[0].text or ""


def test_passages_go_into_the_prompt_and_sources_into_the_answer(served: conftest.Served) -> None:
    with served.client() as client:
        answer = client.post(PATH, json=ASK).json()
    assert [one["path"] for one in answer["sources"]] == ["a.md", "b.md"]
    told = {"collection", "path", "start_line", "end_line", "title", "language", "commit", "url", "score", "relevance"}
    assert answer["sources"][0].keys() == told
    said = prompt(served)
    assert said.startswith("Be brief.\n")
    assert "# Pears\n\nPears are sweet." in said
    assert said.endswith("The question:\nAre pears sweet?")


def test_passages_take_no_room_from_what_was_said(served: conftest.Served) -> None:
    fill(served, "long", {"a.md": "# Pears\n\n" + "Pears are sweet. " * 90})
    with served.client() as client:
        for size, answer_tokens, told in ((10, None, True), (1000, None, True), (1800, None, False), (1800, 100, True)):
            said = [{"role": "user", "content": "x" * size}, {"role": "assistant", "content": "y" * 500}]
            body = {**ASK, "messages": [*said, ASK["messages"][1]], "retrieval": {"collection": "long"}}
            answer = client.post(PATH, json=body | ({"max_tokens": answer_tokens} if answer_tokens else {})).json()
            assert bool(answer["sources"]) == told, (size, answer_tokens)
            assert len(prompt(served)) <= 4096 - (answer_tokens or 1024)


def test_streamed_the_sources_come_first(served: conftest.Served) -> None:
    with served.client() as client:
        lines = client.post(PATH, json={**ASK, "stream": True}).text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert events[0]["sources"][0]["path"] == "a.md"
    assert all("sources" not in event for event in events[1:])


def test_openais_client_hands_them_on(served: conftest.Served) -> None:
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0)
    asked: Any = {**ASK, "extra_body": {"retrieval": {"collection": ["notes"], "k": 1, "path": "b.md"}}}
    asked.pop("retrieval")
    answer: Any = client.chat.completions.create(**asked)
    assert [one["path"] for one in answer.sources] == ["b.md"]


def test_without_it_nothing_is_added(served: conftest.Served) -> None:
    asked = {name: value for name, value in ASK.items() if name != "retrieval"}
    with served.client() as client:
        assert "sources" not in client.post(PATH, json=asked).json()
    assert prompt(served) == "Be brief.\nAre pears sweet?"


def test_where_nothing_is_found_there_are_no_sources(served: conftest.Served) -> None:
    with served.client() as client:
        answer = client.post(PATH, json={**ASK, "retrieval": {"collection": "notes", "threshold": 0.999}}).json()
    assert answer["sources"] == []
    assert prompt(served) == "Be brief.\nAre pears sweet?"


def test_parts_of_a_message(served: conftest.Served) -> None:
    content = [{"type": "text", "text": "Are pears"}, {"type": "text", "text": "sweet?"}]
    with served.client() as client:
        assert client.post(PATH, json={**ASK, "messages": [{"role": "user", "content": content}]}).json()["sources"]
    assert "The question:\\nAre pears\\nsweet?" in prompt(served)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"retrieval": {"collection": "none"}}, 404),
        ({"retrieval": {"collection": ["notes", "none"]}}, 404),
        ({"retrieval": {}}, 400),
        ({"retrieval": "notes"}, 400),
        ({"retrieval": {"collection": "notes", "k": 99}}, 400),
        ({"retrieval": {"collection": []}}, 400),
        ({"messages": [{"role": "system", "content": "x"}]}, 400),
        ({"messages": [{"role": "user", "content": " "}]}, 400),
        ({"messages": "x"}, 400),
    ],
)
def test_refusals(served: conftest.Served, change: dict[str, Any], status: int) -> None:
    with served.client() as client:
        answer = client.post(PATH, json={**ASK, **change})
    assert_error(answer, status, "NotFoundError" if status == 404 else "BadRequestError")


def test_a_closed_collection_is_not_there_for_others(people: People) -> None:
    served, clients = people
    fill(served, "closed", {"a.md": "Pears are secret."})
    asked = {**ASK, "retrieval": {"collection": "closed"}}
    assert clients["reader"].post(PATH, json=asked).json()["sources"]
    assert_error(clients["other"].post(PATH, json=asked), 404, "NotFoundError", "There is no collection closed.")
