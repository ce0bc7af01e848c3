"""Chats by their requests alone: what is said, changed, said again, stopped."""

from __future__ import annotations

from typing import Any

import pytest

from kodify.engine.scripted import Script
from kodify.errors import UnavailableError
from tests.api.test_errors import assert_error
from tests.chats.conftest import Begin, begin_talk
from tests.conftest import Serve, eventually

ENDLESS = Script(endless=True, pause_s=0.01)
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_message_is_answered_and_kept(begin: Begin) -> None:
    talk = begin()
    told = talk.say("Hi *there*")
    talk.answered(content="Hello, world", status="done")
    history = talk.history("?render=html")
    assert history["chat_id"] == talk.id
    assert history["title"] == "Hi *there*"
    question, answer = history["messages"]
    assert (question["id"], answer["id"]) == (told["message_id"], told["answer_id"])
    assert (question["role"], answer["role"]) == ("user", "assistant")
    assert answer["html"] == "<p>Hello, world</p>\n"
    assert "html" not in question
    assert answer["finish_reason"] == "stop"
    assert (answer["prompt_tokens"], answer["completion_tokens"]) == (len("Hi *there*"), 3)


def test_what_was_said_before_is_the_models_to_know(begin: Begin) -> None:
    talk = begin(settings={"system": "Be brief.", "level": "beginner"})
    talk.say("one")
    talk.answered()
    talk.say("two")
    talk.answered()
    prompts = [job.prompts[0].text for job in talk.engine.jobs]
    assert prompts[0] is not None
    assert prompts[0].startswith("The reader is new to programming.")
    assert prompts[0].endswith("\n\nBe brief.\none")
    assert prompts[1] is not None
    assert prompts[1].endswith("\none\nHello, world\ntwo")


def test_the_oldest_is_left_out_where_the_context_is_full(begin: Begin) -> None:
    talk = begin(settings={"max_tokens": 96})
    for text in ("a" * 1500, "b" * 1500, "c" * 1500):
        talk.say(text)
        talk.answered()
    assert talk.engine.jobs[-1].prompts[0].text == "\n".join(["b" * 1500, "Hello, world", "c" * 1500])
    assert len(talk.messages()) == 6  # they are still in the chat


def test_a_message_that_does_not_fit_by_itself_is_refused(begin: Begin) -> None:
    talk = begin()
    answer = talk.ask("POST", "/send_message", json={"message": "x" * 5000})
    assert_error(answer, 400, "BadRequestError")
    assert "context" in answer.json()["message"]
    assert talk.messages() == []


def test_an_edited_message_replaces_what_follows(begin: Begin) -> None:
    talk = begin()
    first = talk.say("one")
    talk.answered()
    talk.say("two")
    talk.answered()
    talk.say("three", edit=first["message_id"])
    talk.answered()
    assert talk.contents() == ["three", "Hello, world"]
    assert talk.engine.jobs[-1].prompts[0].text == "three"


def test_an_answer_is_made_anew(begin: Begin) -> None:
    talk = begin()
    first = talk.say("one")
    talk.answered()
    again = talk.say(regenerate=True)
    talk.answered()
    assert again["message_id"] == first["message_id"]
    assert again["answer_id"] != first["answer_id"]
    assert [message["id"] for message in talk.messages()] == [again["message_id"], again["answer_id"]]


def test_stop_ends_an_answer_as_it_is(begin: Begin) -> None:
    talk = begin(ENDLESS)
    talk.say("go on")
    eventually(lambda: bool(talk.messages()[-1]["content"]))
    answer = talk.ask("POST", "/stop")
    assert (answer.status_code, answer.json()) == (202, {"stopping": True})
    stopped = talk.answered(status="stopped", finish_reason="stopped", error=None)
    assert stopped["content"].startswith("on and on and")
    eventually(lambda: talk.engine.cancelled == 1)
    assert talk.ask("POST", "/stop").json() == {"stopping": False}


def test_one_answer_at_a_time(begin: Begin) -> None:
    talk = begin(ENDLESS)
    first = talk.say("one")
    for body in ({"message": "two"}, {"regenerate": True}, {"message": "three", "edit": first["message_id"]}):
        assert_error(talk.ask("POST", "/send_message", json=body), 409, "ConflictError")
    talk.ask("POST", "/stop")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(error=UnavailableError("The engine is tired.")), "The engine is tired."),
        (Script(error=RuntimeError("a secret")), "Internal Server Error"),
        (Script(error_on_submit=UnavailableError("Full.")), "Full."),
    ],
)
def test_an_answer_that_fails_says_so(begin: Begin, script: Script, error: str) -> None:
    talk = begin(script)
    talk.say("one")
    talk.answered(status="error", error=error, finish_reason=None)
    talk.engine.script = Script()
    talk.say("two")
    talk.answered(status="done")


def test_settings_and_title_change(begin: Begin) -> None:
    talk = begin(settings={"title": "A", "system": "s", "temperature": 0.5})
    answer = talk.ask("PATCH", json={"title": "B", "system": None, "level": "professional"})
    assert answer.status_code == 200
    history = talk.history()
    assert history["title"] == "B"
    assert history["settings"] == {
        "model": None,
        "system": None,
        "level": "professional",
        "temperature": 0.5,
        "top_p": None,
        "max_tokens": None,
        "retrieval": None,
    }


def test_a_deleted_chat_is_gone(begin: Begin) -> None:
    talk = begin(ENDLESS)
    talk.say("one")
    assert talk.ask("DELETE").status_code == 204
    assert_error(talk.ask("GET", "/history"), 404, "NotFoundError")
    eventually(lambda: talk.engine.cancelled == 1)


WRONG: list[tuple[dict[str, Any], int]] = [
    ({}, 400),
    ({"message": " \n"}, 400),
    ({"message": 1}, 400),
    ({"message": "a", "edit": UNKNOWN}, 404),
    ({"message": "a", "edit": "x"}, 404),
    ({"regenerate": True}, 400),
    ({"action": {"name": "fix", "code": ""}}, 400),
    ({"action": {"name": "no-such", "code": "a"}}, 404),
    ({"action": {"name": "fix", "code": "a", "selection": {"start_line": 3, "end_line": 1}}}, 400),
]


@pytest.mark.parametrize(("body", "status"), WRONG)
def test_a_wrong_message_leaves_the_chat_as_it_was(begin: Begin, body: dict[str, Any], status: int) -> None:
    talk = begin()
    answer = talk.ask("POST", "/send_message", json=body)
    assert answer.status_code == status, answer.text
    assert talk.messages() == []
    talk.say("fine")
    talk.answered(status="done")


@pytest.mark.parametrize(
    "body",
    [
        {"level": "guru"},
        {"temperature": 3},
        {"top_p": 0},
        {"max_tokens": 0},
        {"title": "x" * 201},
        {"system": 1},
    ],
)
def test_wrong_settings_are_refused(serve: Serve, chats: dict[str, object], body: dict[str, Any]) -> None:
    served = serve(**chats)
    with served.client() as client:
        assert_error(client.post("/api/v1/chat", json=body), 400, "BadRequestError")


def test_nul_is_no_text(begin: Begin) -> None:
    talk = begin(Script(pieces=("a\0b",)), {"system": "s\0"})
    talk.say("q\0", action=None)
    talk.answered(content="a\ufffdb")
    assert talk.contents()[0] == "q\ufffd"


def test_a_model_that_is_not_served(begin: Begin) -> None:
    talk = begin(settings={"model": "other"})
    assert_error(talk.ask("POST", "/send_message", json={"message": "a"}), 404, "NotFoundError")


@pytest.mark.parametrize("id", [UNKNOWN, "x", "%00", "..", "a" * 200])
def test_a_chat_that_is_not_there(serve: Serve, chats: dict[str, object], id: str) -> None:
    served = serve(**chats)
    with served.client() as client:
        answers = [
            client.get(f"/api/v1/chat/{id}/history"),
            client.post(f"/api/v1/chat/{id}/send_message", json={"message": "a"}),
            client.post(f"/api/v1/chat/{id}/stop"),
            client.patch(f"/api/v1/chat/{id}", json={}),
            client.delete(f"/api/v1/chat/{id}"),
        ]
    for answer in answers:
        assert answer.status_code in (404, 405)


def test_an_action_makes_a_diff(begin: Begin) -> None:
    talk = begin(Script(pieces=("Done.\n\n```python\n", "a = 2\n", "```\n")))
    action = {"name": "fix", "code": "a = 1\n", "language": "python", "path": "src/a.py"}
    talk.say("", action=action)
    answer = talk.answered(status="done")
    assert "-a = 1\n+a = 2\n" in answer["diff"]
    question = talk.messages()[0]
    assert question["content"] == "fix: src/a.py\n\n```python\na = 1\n```"
    assert question["action"]["name"] == "fix"
    again = talk.say(regenerate=True)
    assert talk.answered(id=again["answer_id"])["diff"] == answer["diff"]


def test_an_action_without_a_diff_says_why(begin: Begin) -> None:
    talk = begin(Script(pieces=("No ", "code.")))
    talk.say("please", action={"name": "fix", "code": "a = 1\n"})
    answer = talk.answered(status="done", content="No code.")
    assert answer["action"]["complaint"] == "The answer has no block of code."


def test_markdown_is_rendered(begin: Begin) -> None:
    talk = begin()
    with talk.served.client() as client:
        assert client.post("/api/v1/render", json={"markdown": "*a*"}).json() == {"html": "<p><em>a</em></p>\n"}
        long = client.post("/api/v1/render", json={"markdown": "<script>\n\n" * 1000}).json()["html"]
    assert long.count("&lt;script&gt;") == 1000


def test_a_look_at_the_list_starts_no_database(serve: Serve, tmp_path: Any) -> None:
    served = serve(DATA_PATH=str(tmp_path / "data"))
    with served.client() as client:
        assert client.get("/api/v1/chats").json() == {"data": []}
        assert not (tmp_path / "data").exists()
    talk = begin_talk(served)  # the first chat does
    assert (tmp_path / "data" / "postgres").exists()
    talk.say("one")
    talk.answered(status="done")


def test_a_chat_is_full_some_time(begin: Begin) -> None:
    talk = begin()
    talk.served.app.state.chats.most_bytes = 50_000
    lines = {"code": "x = 1\n" * 10_000, "selection": {"start_line": 1, "end_line": 1}}
    first = talk.say("please", action={"name": "explain", **lines})
    talk.answered(status="done")
    refused = talk.ask("POST", "/send_message", json={"message": "And now?"})
    assert_error(refused, 400, "BadRequestError")
    assert "This chat is full" in refused.json()["message"]
    assert len(talk.messages()) == 2
    talk.say("Shorter", edit=first["message_id"])
    talk.answered(status="done")
    talk.say("And now?")
    talk.answered(status="done")


def test_collections_with_a_nul_in_their_names_are_kept_without(begin: Begin) -> None:
    talk = begin()
    assert talk.ask("PATCH", json={"retrieval": {"collection": ["a\0b", "c"]}}).status_code == 200
    assert talk.history()["settings"]["retrieval"]["collection"] == ["a\ufffdb", "c"]
