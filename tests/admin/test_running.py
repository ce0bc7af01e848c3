"""`/api/v1/admin/running`, `/settings` and `/engines`: what goes on, ended by an administrator; how it was set up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from kodify.engine.scripted import Script, ScriptedEmbedder, ScriptedEngine
from kodify.engines import Engines, Served
from kodify.settings import Settings
from tests.admin.conftest import Office
from tests.api.test_errors import assert_error
from tests.auth.test_users import ROOT, Company, found_company
from tests.conftest import Serve, eventually, serving
from tests.journal.conftest import Place

API = "/api/v1/admin"
ENDED = "An administrator has ended this request."
HELLO: dict[str, Any] = {"model": "", "messages": [{"role": "user", "content": "hi"}]}


def running(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"{API}/running").json()["data"]
    return found


class Asking:
    """A request in a thread of its own."""

    def __init__(self, company: Company, token: str, path: str, body: dict[str, Any], **headers: str) -> None:
        self.lines: list[str] = []
        self.answer: httpx.Response | None = None

        def run() -> None:
            with (
                company.client(token) as client,
                client.stream("POST", path, json=body, headers=headers) as answer,
            ):
                for line in answer.iter_lines():
                    self.lines.append(line)
                self.answer = answer

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def end(self) -> httpx.Response:
        self._thread.join(30)
        assert self.answer is not None
        return self.answer


def only(root: httpx.Client, fits: Callable[[dict[str, Any]], bool] = lambda one: True) -> dict[str, Any]:
    """Waits for the one that runs."""
    eventually(lambda: [fits(one) for one in running(root)] == [True])
    return running(root)[0]


def test_a_stream_is_shown_and_ended_and_the_one_who_waits_is_told(office: Office, place: Place) -> None:
    company = office(Script(endless=True, pause_s=0.01))
    token = company.hire("ann@example.ru")
    asking = Asking(company, token, "/v1/chat/completions", {**HELLO, "stream": True}, **{"x-request-id": "r-1"})
    with company.root() as root:
        one = only(root, lambda one: bool((one["completion_tokens"] or 0) > 2))
        assert {name: one[name] for name in ("request_id", "user", "address", "route", "model", "streams")} == {
            "request_id": "r-1",
            "user": "ann@example.ru",
            "address": "127.0.0.1",
            "route": "POST /v1/chat/completions",
            "model": "scripted",
            "streams": True,
        }
        assert one["prompt_tokens"] == 2
        assert root.delete(f"{API}/running/{one['id']}").status_code == 204
        assert asking.end().status_code == 200
        eventually(lambda: running(root) == [])
        assert root.delete(f"{API}/running/{one['id']}").status_code == 404
        (act,) = root.get(f"{API}/audit", params={"search": "cancel"}).json()["data"]
        assert (act["actor"], act["target"]) == (ROOT, "ann@example.ru")
        assert act["detail"] == "POST /v1/chat/completions, request r-1"
    last = [line for line in asking.lines if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"] == {
        "message": ENDED,
        "type": "ForbiddenError",
        "param": None,
        "code": 403,
    }
    engine = company.served.engine
    assert isinstance(engine, ScriptedEngine)
    eventually(lambda: engine.cancelled == 1)
    eventually(lambda: place.count() == 1)
    (row,) = place.rows()
    assert (row["status_code"], row["username"]) == (403, "ann@example.ru")
    assert "on and" in str(row["response"])


WHOLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", HELLO),
    ("/v1/completions", {"prompt": "a"}),
    ("/v1/completions", {"prompt": "a", "suffix": "b", "deadline_ms": 4_900}),
    ("/infill", {"input_prefix": "a", "input_suffix": "b"}),
)


def test_a_whole_answer_becomes_an_error(office: Office) -> None:
    company = office(Script(endless=True, pause_s=0.01), LOGS=False)
    token = company.hire("ann@example.ru")
    for path, body in WHOLE:
        asking = Asking(company, token, path, body)
        with company.root() as root:
            one = only(root)
            assert (one["streams"], one["completion_tokens"]) == (False, None)
            assert root.delete(f"{API}/running/{one['id']}").status_code == 204
            assert asking.end().status_code == 403
            assert json.loads(asking.lines[0])["message"] == ENDED
            eventually(lambda: running(root) == [])


def test_one_that_waits_in_line_is_ended_too(settings: Settings, users: dict[str, object]) -> None:
    given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    own = settings.model_copy(update={given[name]: value for name, value in users.items()})
    engine = ScriptedEngine(Script(endless=True, pause_s=0.01), most_running=1)
    with serving(own, engine) as served:
        company = found_company(lambda **_: served, users)
        token = company.hire("ann@example.ru")
        first = Asking(company, token, "/v1/chat/completions", HELLO)
        with company.root() as root:
            running_one = only(root)
            second = Asking(company, token, "/v1/chat/completions", HELLO)
            eventually(lambda: len(running(root)) == 2)
            waiting = next(one for one in running(root) if one["id"] != running_one["id"])
            assert root.get(f"{API}/engines").json()["data"][0]["waiting"] == 1
            assert root.delete(f"{API}/running/{waiting['id']}").status_code == 204
            assert second.end().status_code == 403
            assert len(engine.jobs) == 1
            assert root.delete(f"{API}/running/{running_one['id']}").status_code == 204
        assert first.end().status_code == 403


def test_an_embedding_is_ended(settings: Settings, users: dict[str, object]) -> None:
    given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    own = settings.model_copy(update={given[name]: value for name, value in users.items()})
    embedder = ScriptedEmbedder(endless=True)
    with serving(own, Engines([Served(embedder, task="embed")])) as served:
        company = found_company(lambda **_: served, users)
        asking = Asking(company, company.root_token, "/v1/embeddings", {"input": "hi"})
        with company.root() as root:
            one = only(root)
            assert (one["model"], one["route"]) == ("scripted-embedder", "POST /v1/embeddings")
            root.delete(f"{API}/running/{one['id']}")
        assert asking.end().status_code == 403
        eventually(lambda: embedder.cancelled == 1)


def test_an_answer_in_a_chat_is_ended_though_nobody_listens(office: Office) -> None:
    company = office(Script(endless=True, pause_s=0.01), LOGS=False)
    with company.client(company.hire("ann@example.ru")) as ann, company.root() as root:
        chat = f"/api/v1/chat/{ann.post('/api/v1/chat').json()['chat_id']}"
        assert ann.post(f"{chat}/send_message", json={"message": "hi"}).status_code == 202
        one = only(root, lambda one: bool((one["completion_tokens"] or 0) > 2))
        assert (one["user"], one["route"]) == ("ann@example.ru", "POST /api/v1/chat/{chat_id}/send_message")
        assert root.delete(f"{API}/running/{one['id']}").status_code == 204
        eventually(lambda: running(root) == [])

        def answer() -> dict[str, Any]:
            found: dict[str, Any] = ann.get(f"{chat}/history").json()["messages"][-1]
            return found

        eventually(lambda: answer()["status"] != "generating")
        last = answer()
    assert (last["status"], last["error"]) == ("error", ENDED)
    assert last["content"].startswith("on and ")


def test_openais_client_does_not_try_again(office: Office) -> None:
    company = office(Script(endless=True, pause_s=0.01), LOGS=False)
    told: list[openai.APIStatusError] = []

    def run() -> None:
        with openai.OpenAI(base_url=f"{company.served.url}/v1", api_key=company.root_token) as client:
            try:
                client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "hi"}])
            except openai.APIStatusError as error:
                told.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with company.root() as root:
        root.delete(f"{API}/running/{only(root)['id']}")
        thread.join(30)
        eventually(lambda: running(root) == [])
    assert (told[0].status_code, told[0].body) == (403, told[0].body)
    assert ENDED in told[0].message


def test_settings_are_shown_without_secrets(office: Office) -> None:
    company = office(LOGS=False, MAX_N=7)
    with company.root() as root:
        found = root.get(f"{API}/settings").json()
    shown = {one["name"]: one for one in found["data"]}
    assert set(shown) == {field.alias for field in Settings.model_fields.values()}
    assert (shown["MAX_N"]["value"], shown["MAX_N"]["is_set"]) == ("7", True)
    assert shown["GPUUTIL"]["is_set"] is False
    assert shown["DB_URL"]["value"] == "********"
    assert shown["MAX_N"]["description"]
    assert found["config.yml"]["models"] == []


def test_engines_say_how_they_are(office: Office) -> None:
    company = office(LOGS=False)
    engine = company.served.engine
    assert isinstance(engine, ScriptedEngine)
    with company.root() as root:
        (one,) = root.get(f"{API}/engines").json()["data"]
        assert (one["names"], one["state"], one["error"], one["task"]) == (["scripted"], "running", None, "generate")
        assert (one["context_tokens"], one["running"], one["waiting"]) == (4096, 0, 0)
        engine.healthy = False
        (one,) = root.get(f"{API}/engines").json()["data"]
        assert (one["state"], one["error"]) == ("not working", "The engine is not running.")


def test_what_can_not_be_written_down_is_not_done(
    office: Office, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    company = office(Script(endless=True, pause_s=0.01), LOGS=False)
    asking = Asking(company, company.root_token, "/v1/chat/completions", {**HELLO, "stream": True})
    auth = company.administration._auth
    with company.root() as root:
        one = only(root)
        monkeypatch.setattr(auth.database, "_engine", None)
        assert_error(root.delete(f"{API}/running/{one['id']}"), 503, "ServiceUnavailableError")
        assert [again["id"] for again in running(root)] == [one["id"]]
        monkeypatch.undo()
        assert root.delete(f"{API}/running/{one['id']}").status_code == 204
    asking.end()
