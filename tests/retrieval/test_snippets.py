"""Completions in a repository that has a collection: its pieces are in the prompt."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest

from kodify.api import snippets
from tests import conftest
from tests.retrieval.conftest import People, Start, fill

PATH = "/v1/completions"
OTHER = "def parse_header(line):\n    # Splits a header into parts, of which there are many.\n    return line.split()\n"
PREFIX = "import lib\n\n\ndef main(line):\n    # parse the header\n    "


def asked(**more: Any) -> dict[str, Any]:
    segments = {"prefix": PREFIX, "suffix": "", "filepath": "main.py", "git_url": "git@Host:team/project.git"}
    options = {"return_prompt": True, "return_snippets": True}
    return {"language": "python", "segments": {**segments, **more}, "debug_options": options}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowded machine is no reason to go without."""
    monkeypatch.setattr(snippets, "TIMEOUT_S", 30.0)


def note(served: conftest.Served, name: str) -> None:
    work = served.app.state.library.note(name, "host/team/project", "c0ffee")
    asyncio.run_coroutine_threadsafe(work, served.loop).result(30)


@pytest.fixture
def served(start: Start) -> conftest.Served:
    found = start()
    fill(found, "code", {"lib/http.py": OTHER, "main.py": PREFIX + "parse_header(line)\n"})
    note(found, "code")
    return found


def paths(client: httpx.Client, body: dict[str, Any]) -> list[str]:
    answer = client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return [one["filepath"] for one in answer.json()["debug_data"].get("snippets", [])]


def test_pieces_of_the_repository_stand_beside_the_editors_own(served: conftest.Served) -> None:
    with served.client() as client:
        own = [{"filepath": "own.py", "body": "x = 1", "score": 1.0}]
        answer = client.post(PATH, json=asked(declarations=own)).json()["debug_data"]
    assert [one["filepath"] for one in answer["snippets"]] == ["own.py", "lib/http.py"]
    assert answer["snippets"][1]["body"].startswith("def parse_header")


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"git_url": "git@host:team/other.git"}, {}),
        ({"git_url": None}, {}),
        ({"prefix": ""}, {}),
        ({}, {"disable_retrieval_augmented_code_completion": True}),
    ],
)
def test_where_there_are_none(served: conftest.Served, change: dict[str, Any], option: dict[str, Any]) -> None:
    body = asked(**change)
    body["debug_options"] = {**body["debug_options"], **option}
    with served.client() as client:
        assert paths(client, body) == []


def test_typing_on_in_a_line_changes_no_snippet(served: conftest.Served) -> None:
    with served.client() as client:
        first = client.post(PATH, json=asked()).json()["debug_data"]["snippets"]
        for typed in ("r", "return ", "return nothing_of_that"):
            more = client.post(PATH, json=asked(prefix=PREFIX + typed)).json()["debug_data"]["snippets"]
            assert more == first


def test_it_can_be_turned_off(start: Start) -> None:
    served = start({"snippets": False})
    fill(served, "code", {"lib/http.py": OTHER})
    note(served, "code")
    with served.client() as client:
        assert paths(client, asked()) == []


def test_nobody_gets_pieces_of_what_they_may_not_search(people: People) -> None:
    served, clients = people
    fill(served, "closed", {"lib/http.py": OTHER})
    note(served, "closed")
    assert paths(clients["reader"], asked()) == ["lib/http.py"]
    assert paths(clients["other"], asked()) == []


def test_of_several_collections_of_a_repository_those_that_one_may_search(people: People) -> None:
    served, clients = people
    for name, path in (("closed", "a.py"), ("open", "b.py"), ("grouped", "c.py")):
        fill(served, name, {path: OTHER})
        note(served, name)
    assert sorted(paths(clients["reader"], asked())) == ["a.py", "b.py"]
    assert sorted(paths(clients["other"], asked())) == ["b.py", "c.py"]


def test_a_slow_store_holds_up_one_completion_and_not_the_next(
    served: conftest.Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = served.app.state.library
    go_on, began = threading.Event(), []

    def names() -> list[str]:
        began.append(True)
        go_on.wait(30)
        return ["code"]

    monkeypatch.setattr(library._store, "names", names)
    monkeypatch.setattr(snippets, "TIMEOUT_S", 0.05)
    with served.client() as client:
        assert paths(client, asked()) == []
        assert paths(client, asked()) == []  # does not even ask
        assert len(began) == 1
        go_on.set()
        monkeypatch.setattr(snippets, "TIMEOUT_S", 30.0)
        library.snippets_from = 0.0
        assert paths(client, asked()) == ["lib/http.py"]  # of the list that was asked for by the first
        assert len(began) == 1
