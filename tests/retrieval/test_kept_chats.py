"""Chats that are kept answer from the collection of their settings, and tell their sources."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests import conftest
from tests.api.test_errors import assert_error
from tests.conftest import eventually
from tests.retrieval.conftest import People, Start, fill
from tests.retrieval.test_chat import prompt


@pytest.fixture
def served(start: Start, users: dict[str, Any]) -> conftest.Served:
    where = {"DB_URL": users["DB_URL"], "CHATS_TABLE": f"{users['USERS_TABLE'].split('.')[0]}.chats"}
    found = start({"k": 1}, **where)
    fill(found, "notes", {"a.md": "# Pears\n\nPears are sweet.", "b.md": "# Iron\n\nIron is hard."})
    return found


def history(client: httpx.Client, chat_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/api/v1/chat/{chat_id}/history").json()
    return found


def test_its_answers_rest_on_the_collection(served: conftest.Served) -> None:
    with served.client() as client:
        retrieval = {"collection": "notes", "k": 1}
        chat_id = client.post("/api/v1/chat", json={"retrieval": retrieval, "system": "Be brief."}).json()["chat_id"]
        assert history(client, chat_id)["settings"]["retrieval"]["collection"] == "notes"
        with connect(f"{served.url.replace('http', 'ws')}/api/v1/chat/{chat_id}/ws") as socket:
            sent = client.post(f"/api/v1/chat/{chat_id}/send_message", json={"message": "Are pears sweet?"})
            assert sent.status_code == 202, sent.text
            events: list[dict[str, Any]] = []
            while not events or events[-1]["status"] != "generated":
                events.append(json.loads(socket.recv(timeout=20)))
        told = {event["status"]: event for event in events}
        assert [one["path"] for one in told["generating"]["sources"]] == ["a.md"]
        assert [one["path"] for one in told["generated"]["sources"]] == ["a.md"]
        assert "Pears are sweet." in prompt(served)
        assert prompt(served).endswith("The question:\nAre pears sweet?")
        assert told["generating"]["sources"] == told["generated"]["sources"]
        kept = history(client, chat_id)["messages"]
        assert kept[1]["sources"] == told["generated"]["sources"]
        assert kept[1]["sources"][0]["text"] == "# Pears\n\nPears are sweet."
        assert [one.get("sources", [{}])[0].get("path") for one in kept] == [None, "a.md"]
        assert kept[0]["content"] == "Are pears sweet?"  # the passages are the prompt's alone

        client.patch(f"/api/v1/chat/{chat_id}", json={"retrieval": None})
        client.post(f"/api/v1/chat/{chat_id}/send_message", json={"message": "And iron?"})
        eventually(lambda: len(history(client, chat_id)["messages"]) == 4)
        assert "Iron is hard." not in prompt(served)
        assert "sources" not in history(client, chat_id)["messages"][3]


def test_a_collection_that_is_not_there_refuses_the_message(served: conftest.Served) -> None:
    with served.client() as client:
        chat_id = client.post("/api/v1/chat", json={"retrieval": {"collection": "none"}}).json()["chat_id"]
        answer = client.post(f"/api/v1/chat/{chat_id}/send_message", json={"message": "Are pears sweet?"})
        assert_error(answer, 404, "NotFoundError", "There is no collection none.")
        assert history(client, chat_id)["messages"] == []
        assert_error(client.post("/api/v1/chat", json={"retrieval": {}}), 400, "BadRequestError")


def test_who_may_search_no_longer_is_told_which_collection_it_is(people: People) -> None:
    served, clients = people
    fill(served, "closed", {"a.md": "Pears are sweet."})
    reader = clients["reader"]
    chat_id = reader.post("/api/v1/chat", json={"retrieval": {"collection": "closed"}}).json()["chat_id"]
    path = f"/api/v1/chat/{chat_id}/send_message"
    assert reader.post(path, json={"message": "Are pears sweet?"}).status_code == 202
    eventually(lambda: history(reader, chat_id)["messages"][-1]["status"] == "done")
    served.app.state.settings.file.retrieval.collections["closed"].users[:] = ["somebody@example.ru"]
    answer = reader.post(path, json={"message": "And apples?"})
    assert_error(answer, 404, "NotFoundError", "There is no collection closed.")
    assert answer.json()["param"] == "collection"
    assert reader.get("/api/v1/collections").json()["data"] == []
    assert history(reader, chat_id)["messages"][1]["sources"][0]["text"] == "Pears are sweet."  # as they were given it
    assert reader.patch(f"/api/v1/chat/{chat_id}", json={"retrieval": None}).status_code == 200
    assert reader.post(path, json={"message": "And apples?"}).status_code == 202
    eventually(lambda: history(reader, chat_id)["messages"][-1]["status"] == "done")
