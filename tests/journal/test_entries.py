"""What is kept of each request."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kodify.db.journal_rows import id_moment
from kodify.engine.scripted import Script
from kodify.errors import EngineFailedError, UnavailableError
from tests.conftest import eventually, leave
from tests.journal.conftest import Journaled

Start = Callable[..., Journaled]
CHAT: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION: dict[str, Any] = {"model": "scripted", "prompt": "hi"}
BODIES = {"/v1/chat/completions": CHAT, "/v1/completions": COMPLETION}


def test_a_whole_answer(journaled: Start) -> None:
    journal = journaled()
    before = datetime.now(UTC)
    with journal.served.client(**{"x-request-id": "mine-1"}) as client:
        answer = client.post("/v1/chat/completions", json=CHAT)
    row = journal.only_row()
    assert row["type"] == "POST /v1/chat/completions"
    assert row["user"] == "127.0.0.1"
    assert row["username"] is None
    assert row["request"] == CHAT
    assert row["response"] == answer.json()
    assert (row["status_code"], row["model"], row["finish_reason"]) == (200, "scripted", "stop")
    assert (row["prompt_tokens"], row["completion_tokens"], row["cancelled"]) == (2, 3, False)
    assert row["request_id"] == "mine-1"
    assert row["ttft_ms"] is None  # nobody saw a first token
    assert before - timedelta(seconds=1) < row["request_dt"] < row["response_dt"] <= datetime.now(UTC)
    took = row["response_dt"] - row["request_dt"]
    assert row["duration_ms"] == pytest.approx(took.total_seconds() * 1000, abs=1)
    assert abs(id_moment(row["id"]) - row["request_dt"]) < timedelta(milliseconds=1)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("more", [{}, {"n": 3}], ids=["one", "three choices"])
def test_a_streamed_answer_is_kept_as_the_whole_one_would_be(journaled: Start, path: str, more: dict[str, Any]) -> None:
    journal = journaled(Script(pieces=("Привет", ", ", "мир \u2028\t\"'\\")))
    body = {**BODIES[path], **more}
    with journal.served.client() as client:
        client.post(path, json=body)
        client.post(path, json={**body, "stream": True})
    whole, streamed = journal.rows(2)
    for row in (whole, streamed):
        for changing in ("id", "created"):
            row["response"].pop(changing)
    assert streamed["response"] == whole["response"]
    assert streamed["ttft_ms"] is not None
    assert streamed["ttft_ms"] <= streamed["duration_ms"]
    for name in ("prompt_tokens", "completion_tokens", "finish_reason", "status_code", "model"):
        assert streamed[name] == whole[name]


def test_the_models_list(journaled: Start) -> None:
    journal = journaled()
    with journal.served.client() as client:
        answer = client.get("/v1/models")
    row = journal.only_row()
    assert (row["type"], row["request"], row["response"]) == ("GET /v1/models", None, answer.json())


REFUSALS: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "/v1/chat/completions", {"json": {**CHAT, "model": "another"}}, 404),
    ("POST", "/v1/chat/completions", {"json": {**CHAT, "temperature": 7}}, 400),
    ("POST", "/v1/chat/completions", {"content": b'{"model": "scripted", \xff'}, 400),
    ("POST", "/v1/chat/completions", {"content": b'["a list"]'}, 400),
    ("POST", "/v1/chat/completions", {"content": b""}, 400),
    ("POST", "/v1/completions", {"content": b"x" * 2_000}, 413),
    ("PUT", "/v1/completions", {}, 405),
]


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_refusals_are_kept(journaled: Start, number: int) -> None:
    method, path, content, status = REFUSALS[number]
    journal = journaled(MAX_BODY_BYTES=1_500)
    with journal.served.client() as client:
        answer = client.request(method, path, **content)
    assert answer.status_code == status
    row = journal.only_row()
    assert (row["type"], row["status_code"], row["response"]) == (f"{method} {path}", status, answer.json())
    if "json" in content:
        assert row["request"] == content["json"]
        assert row["model"] == content["json"]["model"]
    elif status == 400 and content["content"].startswith(b"{"):
        assert row["request"] == content["content"].decode("utf-8", "replace")


def test_a_wrong_token_is_kept_without_the_body_of_who_sent_it(journaled: Start) -> None:
    from pydantic import SecretStr

    journal = journaled(VLLM_API_KEY=SecretStr("the-right-one-is-long"))
    with journal.served.client(authorization="Bearer the-wrong-one-is-long") as client:
        answer = client.post("/v1/chat/completions", json=CHAT)
    row = journal.only_row()
    assert (row["status_code"], row["request"], row["response"]) == (401, None, answer.json())


def test_what_is_not_journaled(journaled: Start) -> None:
    journal = journaled()
    with journal.served.client() as client:
        for path in ("/health", "/ready", "/metrics", "/nowhere"):
            client.get(path)
        client.get("/v1/models")
    assert journal.only_row()["type"] == "GET /v1/models"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_a_client_that_left(journaled: Start, path: str, stream: bool) -> None:
    journal = journaled(Script(endless=True))
    body = {**BODIES[path], "stream": stream}
    if stream:
        with journal.served.client() as client, client.stream("POST", path, json=body) as answer:
            next(answer.iter_bytes())
    else:
        leave(journal.served.url, path, body, lambda: journal.served.engine.running() == 1)
    row = journal.only_row()
    assert (row["status_code"], row["cancelled"], row["finish_reason"]) == (499, True, None)
    assert row["request"] == body
    choices = row["response"]["choices"]
    if stream:
        (choice,) = choices
        text = choice["text"] if "text" in choice else choice["message"]["content"]
        assert text.startswith("on and on and")
        assert row["completion_tokens"] * len("on and ") == len(text)
    else:
        assert choices == []


def test_a_body_that_did_not_come_in_time(journaled: Start) -> None:
    """The connection answers by itself, and the entry has what the client was told."""
    journal = journaled(BODY_TIMEOUT_S=0.2)
    with socket.create_connection(("127.0.0.1", int(journal.served.url.rsplit(":", 1)[1])), timeout=20) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        answer = connection.makefile("rb").read()
    row = journal.only_row()
    assert (row["status_code"], row["cancelled"], row["request"]) == (408, False, None)
    assert row["response"] == json.loads(answer.partition(b"\r\n\r\n")[2])
    labels = {"method": "POST", "route": "/v1/chat/completions", "status": "408"}
    registry = journal.served.app.state.metrics.registry
    eventually(lambda: registry.get_sample_value("kodify_requests_total", labels) == 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_and_in_the_midst(journaled: Start, stream: bool) -> None:
    body = {**CHAT, "stream": stream}
    journal = journaled(Script(pieces=("so ", "far"), error=EngineFailedError("it broke")))
    with journal.served.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    row = journal.only_row()
    assert row["status_code"] == 500
    if stream:
        assert row["response"]["error"]["message"] == "it broke"
        assert row["response"]["choices"][0]["message"]["content"] == "so far"
    else:
        assert row["response"] == answer.json()


def test_a_refused_submission(journaled: Start) -> None:
    journal = journaled(Script(error_on_submit=UnavailableError("full")))
    with journal.served.client() as client:
        client.post("/v1/chat/completions", json=CHAT)
    row = journal.only_row()
    assert (row["status_code"], row["prompt_tokens"], row["response"]["message"]) == (503, 2, "full")


def test_an_entry_is_safe_before_its_answer_has_ended(journaled: Start) -> None:
    """The last byte of an answer leaves after its entry was put."""
    journal = journaled(Script(pieces=("a",) * 50))
    metrics = journal.served.app.state.journal._metrics
    with journal.served.client() as client:
        for number, stream in enumerate((True, False) * 20, 1):
            client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
            assert metrics.accepted == number  # no waiting


def test_a_completion_that_a_newer_one_ended(journaled: Start) -> None:
    journal = journaled(Script(endless=True))
    body = {"input_prefix": "x = ", "input_suffix": "", "t_max_predict_ms": 300}
    with journal.served.client() as client, ThreadPoolExecutor(1) as pool:
        older = pool.submit(client.post, "/infill", json={**body, "t_max_predict_ms": 0})
        eventually(lambda: journal.served.engine.running() == 1)
        client.post("/infill", json={**body, "prompt": "1"})
        assert older.result().json()["content"] == ""
    reasons = {row["request"].get("prompt"): row["finish_reason"] for row in journal.rows(2)}
    assert reasons == {None: "superseded", "1": "length"}


def test_a_completion_that_needed_no_engine(journaled: Start) -> None:
    journal = journaled()
    body = {"language": "python", "segments": {"prefix": "x = ", "filepath": "m.py"}}
    with journal.served.client() as client:
        answers = [client.post("/v1/completions", json=body).json() for _ in range(2)]
    rows = journal.rows(2)
    assert [row["finish_reason"] for row in rows] == ["stop", "cached"]
    assert [row["model"] for row in rows] == ["scripted"] * 2
    assert [row["response"] for row in rows] == answers


def test_metadata_alone(journaled: Start) -> None:
    journal = journaled(LOGS_CONTENT="metadata")
    with journal.served.client() as client:
        client.post("/v1/chat/completions", json=CHAT)
    row = journal.only_row()
    assert (row["request"], row["response"], row["completion_tokens"]) == (None, None, 3)


def test_the_configuration_is_kept_once(journaled: Start) -> None:
    from pydantic import SecretStr

    journal = journaled(VLLM_API_KEY=SecretStr("a-secret-of-the-company"), MAX_N=7)
    with journal.served.client(authorization="Bearer a-secret-of-the-company") as client:
        client.get("/v1/models")
        client.get("/v1/models")
    first, second = journal.rows(2)
    (config,) = journal.place.rows("SELECT * FROM journal_configs")
    assert first["config_id"] == second["config_id"] == config["id"]
    assert config["settings"]["MAX_N"] == "7"
    assert config["settings"]["VLLM_API_KEY"] == "********"
    assert "a-secret-of-the-company" not in json.dumps(config["settings"])


def test_entries_while_the_engine_loads(journaled: Start) -> None:
    journal = journaled()
    journal.served.app.state.ready = False
    with journal.served.client() as client:
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 503
    assert journal.only_row()["status_code"] == 503


def test_metrics(journaled: Start) -> None:
    journal = journaled()
    with journal.served.client() as client:
        for _ in range(3):
            client.get("/v1/models")
        journal.rows(3)

        def shown(name: str) -> float:
            lines = client.get("/metrics").text.splitlines()
            return float(next(line for line in lines if line.startswith(name + " ")).split()[-1])

        eventually(lambda: shown("kodify_journal_written_total") == 3)
        assert shown("kodify_journal_accepted_total") == 3
        assert shown("kodify_journal_quarantined_total") == 0
        assert shown("kodify_journal_waiting_entries") == 0
        assert shown("kodify_journal_lag_seconds") == 0
        assert 0 < shown("kodify_journal_spooled_bytes") < shown("kodify_journal_spool_limit_bytes")
        assert shown("kodify_journal_spool_alarm") == 0
        assert shown('kodify_journal_lost_total{reason="full"}') == 0
