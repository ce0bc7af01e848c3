"""`/process_message`: plain text from a course's collections, and what was said before."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, cast

import psycopg
import pytest
from pydantic import SecretStr

from kodify.engine.base import Job
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.engines import Engines
from kodify.errors import EngineFailedError
from tests import conftest
from tests.api.test_errors import assert_error
from tests.conftest import eventually
from tests.retrieval.conftest import People, Start, fill

PATH = "/process_message"
ENTRY = {
    "system_prompt": "Be kind.",
    "k": 1,
    "courses": {
        "fruit": {"collections": ["fruit"]},
        "iron": {"collections": ["fruit"], "system_prompt": "Be hard."},
    },
}


def ask(message: str = "Are pears sweet?", **more: Any) -> dict[str, Any]:
    return {"message": message, "user_name": "ann", "course": "fruit", **more}


@pytest.fixture
def begin(start: Start, users: dict[str, object]) -> Callable[..., conftest.Served]:
    """begin(retrieval, HOURS…): an app with a collection, and a schema of its own for what was said."""

    def serve(entry: dict[str, Any] | None = None, **variables: Any) -> conftest.Served:
        where = {"DB_URL": users["DB_URL"], "CHATS_TABLE": f"{str(users['USERS_TABLE']).split('.')[0]}.chats"}
        served = start({**ENTRY, **(entry or {})}, **{**where, **variables})
        fill(served, "fruit", {"a.md": "# Pears\n\nPears are sweet.", "b.md": "# Iron\n\nIron is hard."})
        return served

    return serve


def jobs(served: conftest.Served) -> list[Job]:
    return engine_of(served).jobs


def engine_of(served: conftest.Served) -> ScriptedEngine:
    return cast(ScriptedEngine, cast(Engines, served.engine).all[0].engine)


def prompt(served: conftest.Served) -> str:
    return jobs(served)[-1].prompts[0].text or ""


def test_an_answer_is_plain_text_with_its_sources_in_a_header(begin: Callable[..., conftest.Served]) -> None:
    served = begin()
    with served.client() as client:
        answer = client.post(PATH, json=ask())
    assert (answer.status_code, answer.text) == (200, "Hello, world")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert [one["path"] for one in json.loads(answer.headers["x-kodify-sources"])] == ["a.md"]
    assert prompt(served).startswith("Be kind.\n")
    assert "Pears are sweet." in prompt(served)
    assert prompt(served).endswith("The question:\nAre pears sweet?")


def test_what_was_said_is_remembered_by_person_and_course(begin: Callable[..., conftest.Served]) -> None:
    served = begin({"history_messages": 1000})  # asking again must not push out what is looked for

    def remembers(text: str, **more: str) -> bool:
        assert client.post(PATH, json=ask("And iron?", **more)).status_code == 200
        return f"{text}\nHello, world\n" in prompt(served)

    with served.client() as client:
        client.post(PATH, json=ask("My name is \0 Ann."))
        eventually(lambda: remembers("My name is � Ann."))
        assert "Pears" not in prompt(served)[: prompt(served).index("My name")]  # passages are not remembered
        assert not remembers("My name is � Ann.", user_name="bob")
        assert not remembers("My name is � Ann.", course="iron")
        assert prompt(served).startswith("Be hard.\n")


def test_only_so_much_is_remembered(begin: Callable[..., conftest.Served]) -> None:
    served = begin({"history_messages": 0})
    with served.client() as client:
        for _ in range(3):
            client.post(PATH, json=ask("My name is Ann."))
    assert prompt(served).count("My name is Ann.") == 1


def test_no_more_than_is_remembered_is_kept(begin: Callable[..., conftest.Served], users: dict[str, object]) -> None:
    served = begin({"history_messages": 3})
    table = f"{str(users['USERS_TABLE']).split('.')[0]}.chats_messages"
    address = cast(SecretStr, users["DB_URL"]).get_secret_value()
    with served.client() as client, psycopg.connect(address, autocommit=True) as connection:
        for number in range(4):
            client.post(PATH, json=ask(f"Question {number}."))
            newest = f"SELECT count(*) FROM {table} WHERE content = %s"
            eventually(lambda: connection.execute(newest, [f"Question {number}."]).fetchone() == (1,))  # noqa: B023
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (3,)
        client.post(PATH, json=ask("And now?"))
    assert "Question 3." in prompt(served)
    assert "Question 2." not in prompt(served)  # half a turn is none: its answer alone was left


def test_passages_take_no_room_from_the_question(begin: Callable[..., conftest.Served]) -> None:
    served = begin({"max_tokens": 4000, "courses": {"fruit": {"collections": ["long"]}}})
    fill(served, "long", {"a.md": "# Pears\n\n" + "Pears are sweet. " * 90})
    with served.client() as client:
        for size in (10, 1500, 2200, 2900):
            asked = "Are pears sweet? " + "x" * size
            answer = client.post(PATH, json=ask(asked, user_name=str(size)))
            assert answer.status_code == 200, answer.text
            assert prompt(served).endswith(asked)
            assert ("Pears are sweet." in prompt(served)) == (size < 1700)


def test_it_expires(begin: Callable[..., conftest.Served]) -> None:
    served = begin({"history_hours": 1 / 3600})
    with served.client() as client:
        client.post(PATH, json=ask("My name is Ann."))

        def is_forgotten() -> bool:
            client.post(PATH, json=ask("And now?", user_name="ann"))
            return "My name is Ann." not in prompt(served)

        time.sleep(1.2)
        assert is_forgotten()


def test_people_are_told_apart(people: People) -> None:
    served, clients = people
    for name in ("reader", "other"):
        assert clients[name].post(PATH, json=ask(f"I am {name}.", course="")).status_code == 200
    clients["other"].post(PATH, json=ask("And?", course=""))
    assert "I am reader." not in prompt(served)
    assert [one["title"] for one in clients["other"].get("/api/v1/chats").json()["data"]] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"message": ""}, 400), (ask(course="none"), 404), (ask(course=None), 400), (ask(user_name=1), 400)],
)
def test_refusals(begin: Callable[..., conftest.Served], body: dict[str, Any], status: int) -> None:
    with begin().client() as client:
        assert_error(client.post(PATH, json=body), status, "NotFoundError" if status == 404 else "BadRequestError")


def test_an_answer_that_breaks_off_says_so(begin: Callable[..., conftest.Served]) -> None:
    served = begin()
    engine_of(served).script = Script(error=EngineFailedError("It broke."))
    with served.client() as client:
        answer = client.post(PATH, json=ask())
        assert answer.text == "Hello, world\n[It broke.]"
        engine_of(served).script = Script()
        client.post(PATH, json=ask("And iron?"))
    assert "Are pears sweet?" not in prompt(served)
