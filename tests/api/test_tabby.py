"""What Tabby's clients ask and read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from kodify.engine.base import Job
from kodify.engine.scripted import Script, ScriptedEngine
from tests.conftest import Serve, Served, eventually

SEGMENTS = {"prefix": "def add(a, b):\n    return ", "suffix": "\n", "filepath": "m.py"}
BODY: dict[str, Any] = {"language": "python", "segments": SEGMENTS}


def job_of(served: Served) -> Job:
    engine = served.engine
    assert isinstance(engine, ScriptedEngine)
    return engine.jobs[-1]


def prompt_of(served: Served) -> str:
    return served.engine.vocabulary.decode(job_of(served).prompts[0].token_ids)


def ready(serve: Serve, *pieces: str, **variables: object) -> Served:
    served = serve(Script(pieces=pieces or ("a ", "+ b")), **variables)
    eventually(lambda: bool(served.app.state.ready))
    return served


def test_health_has_what_the_agent_needs(serve: Serve) -> None:
    served = ready(serve)
    with served.client() as client:
        found = [client.get("/v1/health"), client.post("/v1/health")]
    for answer in found:
        body = answer.json()
        assert answer.status_code == 200
        assert body["model"] == body["chat_model"] == "scripted"
        assert body["webserver"] is None
        assert body["device"] in ("cpu", "cuda")
        major, minor, _ = body["version"]["git_describe"].removeprefix("v").split(".")
        assert (int(major), int(minor)) >= (0, 27)
        assert set(body) >= {"chat_device", "cuda_devices", "models", "arch", "cpu_info", "cpu_count"}


def test_the_other_small_routes(serve: Serve) -> None:
    served = ready(serve)
    with served.client() as client:
        assert client.get("/v1beta/server_setting").json() == {"disable_client_side_telemetry": True}
        assert client.get("/v1beta/models").json() == {"completion": ["scripted"], "chat": ["scripted"]}


def test_every_door_asks_for_the_token(serve: Serve) -> None:
    served = ready(serve, VLLM_API_KEY=SecretStr("a-token-of-the-company"))
    doors = [
        ("GET", "/v1/health"), ("POST", "/v1/health"), ("GET", "/v1beta/server_setting"), ("GET", "/v1beta/models"),
        ("POST", "/v1/events"), ("POST", "/v1/completions"), ("POST", "/v1beta/chat/completions"), ("POST", "/infill"),
        ("GET", "/props"),
    ]  # fmt: skip
    with served.client() as client:
        for method, path in doors:
            assert client.request(method, path, json={}).status_code == 401, path


def test_a_completion(serve: Serve) -> None:
    served = ready(serve)
    with served.client() as client:
        answer = client.post("/v1/completions", json=BODY)
    body = answer.json()
    assert (answer.status_code, body["choices"]) == (200, [{"index": 0, "text": "a + b"}])
    assert body["id"].startswith("cmpl-")
    assert len(body["id"]) == len("cmpl-") + 36
    assert set(body) == {"id", "choices"}
    assert prompt_of(served) == f"<|fim_prefix|>{SEGMENTS['prefix']}<|fim_suffix|>\n<|fim_middle|>"
    assert job_of(served).priority < 0


def test_what_is_known_of_other_files_comes_before_the_code(serve: Serve) -> None:
    served = ready(serve)
    more = {
        "declarations": [{"filepath": "lib.py", "body": "def lib(): ..."}],
        "relevant_snippets_from_changed_files": [{"filepath": "changed.py", "body": "X = 1\r\n", "score": 0.5}],
        "relevant_snippets_from_recently_opened_files": [{"filepath": "open.py", "body": "Y = 2"}],
        "git_url": "https://git.example.ru/a.git",
        "clipboard": "anything",
    }
    debug = {"return_snippets": True, "return_prompt": True}
    body = {**BODY, "segments": {**SEGMENTS, **more}, "debug_options": debug, "user": "u"}
    with served.client() as client:
        answer = client.post("/v1/completions", json=body).json()
    prompt = prompt_of(served)
    assert answer["debug_data"]["prompt"] == prompt
    assert [snippet["filepath"] for snippet in answer["debug_data"]["snippets"]] == ["lib.py", "changed.py", "open.py"]
    for words in ("Path: changed.py\n# X = 1\n", "Path: lib.py\n# def lib(): ...\n", "Path: open.py\n# Y = 2\n"):
        assert words in prompt
    assert prompt.index("open.py") < prompt.index("def add(a, b)")


def test_a_raw_prompt_is_the_prompt(serve: Serve) -> None:
    served = ready(serve, "x\n\n\n", "y")
    with served.client() as client:
        answer = client.post("/v1/completions", json={"debug_options": {"raw_prompt": "whatever "}})
    assert answer.json()["choices"][0]["text"] == "x\n\n\ny"
    assert job_of(served).prompts[0].text == "whatever "


def test_the_files_own_newlines(serve: Serve) -> None:
    served = ready(serve, "a = 1\n", "    b = 2\n", "    c")
    segments = {"prefix": "def f():\r\n    ", "suffix": "\r\n", "filepath": "m.py"}
    with served.client() as client:
        answer = client.post("/v1/completions", json={"language": "python", "segments": segments})
    assert answer.json()["choices"][0]["text"] == "a = 1\r\n    b = 2\r\n    c"
    assert "\r" not in prompt_of(served)


def test_other_files_newlines_are_not_the_files(serve: Serve) -> None:
    served = ready(serve, "a = 1\n", "    b = 2")
    segments = {
        "prefix": "def f():\n    ",
        "filepath": "m.py",
        "declarations": [{"filepath": "a.py", "body": "X = 1\r\nY = 2"}],
    }
    with served.client() as client:
        answer = client.post("/v1/completions", json={"language": "python", "segments": segments})
    assert answer.json()["choices"][0]["text"] == "a = 1\n    b = 2"
    assert "\r" not in prompt_of(served)


def test_names_of_megabytes_are_cut(serve: Serve) -> None:
    served = ready(serve)
    long = "a/" * 1_000_000
    segments = {
        "prefix": "x",
        "filepath": long,
        "git_url": long,
        "declarations": [{"filepath": long[:30_000], "body": "y"}] * 200,
    }
    with served.client() as client:
        assert client.post("/v1/completions", json={"language": "python", "segments": segments}).status_code == 200
    assert len(job_of(served).prompts[0].token_ids) < 4096


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"language": "python"}, "segments or debug_options.raw_prompt is required"),
        ({"segments": None}, "segments"),
        ({"segments": {}}, "segments.prefix"),
        ({"segments": {"prefix": 7}}, "segments.prefix"),
        ({"segments": "x"}, "segments"),
        ({"segments": {"prefix": "x", "declarations": [{"filepath": "a"}]}}, "segments.declarations"),
        ({"segments": {"prefix": "x"}, "temperature": 9}, "temperature"),
        ({"segments": {"prefix": "x"}, "temperature": "hot"}, "temperature"),
    ],
)
def test_bad_bodies(serve: Serve, body: dict[str, Any], words: str) -> None:
    served = ready(serve)
    with served.client() as client:
        answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["message"]


@pytest.mark.parametrize(
    "segments",
    [
        {"prefix": ""},
        {"prefix": "x", "suffix": None, "filepath": None},
        {"prefix": "x" * 10_000_000},
        {"prefix": "line of code\n" * 700_000},
        {"prefix": "<|fim_middle|><|fim_prefix|><|endoftext|>" * 2000, "suffix": "<|fim_suffix|>" * 2000},
    ],
)
def test_odd_texts_are_completed(serve: Serve, segments: dict[str, Any]) -> None:
    served = ready(serve)
    with served.client() as client:
        answer = client.post("/v1/completions", json={"language": "no such language", "segments": segments})
    assert answer.status_code == 200
    ids = job_of(served).prompts[0].token_ids
    assert len(ids) < 4096
    assert len([index for index in ids if index >= 0x110000]) == 3


def test_asked_again_or_typed_through_needs_no_engine(serve: Serve) -> None:
    served = ready(serve)
    engine = served.engine
    assert isinstance(engine, ScriptedEngine)
    with served.client() as client:
        for typed, text in (("", "a + b"), ("", "a + b"), ("a ", "+ b")):
            segments = {**SEGMENTS, "prefix": SEGMENTS["prefix"] + typed}
            answer = client.post("/v1/completions", json={**BODY, "segments": segments})
            assert answer.json()["choices"][0]["text"] == text
        assert len(engine.jobs) == 1
        client.post("/v1/completions", json={**BODY, "temperature": 0.8})  # a developer who asks for another one
        assert len(engine.jobs) == 2
        shown = client.get("/metrics").text
    assert "kodify_completions_cached_total 2.0" in shown
    assert 'kodify_completions_answered_total{language="python",model="scripted"} 4.0' in shown


@pytest.mark.parametrize(
    "other",
    [
        {"debug_options": {"raw_prompt": SEGMENTS["prefix"]}},
        {**BODY, "debug_options": {"return_prompt": True}},
        {**BODY, "segments": {**SEGMENTS, "suffix": "\n\n"}},
        {**BODY, "segments": {**SEGMENTS, "git_url": "https://git.example.ru/other.git"}},
        {**BODY, "segments": {**SEGMENTS, "filepath": "n.py"}},
        {**BODY, "segments": {**SEGMENTS, "declarations": [{"filepath": "a.py", "body": "X = 1"}]}},
        {**BODY, "language": "ruby"},
        {**BODY, "user": "somebody else"},
    ],
)
def test_what_the_answer_depends_on_is_looked_at(serve: Serve, other: dict[str, Any]) -> None:
    served = ready(serve)
    engine = served.engine
    assert isinstance(engine, ScriptedEngine)
    with served.client() as client:
        for body in (BODY, other, BODY):
            assert client.post("/v1/completions", json=body).status_code == 200
    assert len(engine.jobs) == 2


def test_a_known_answer_has_the_files_own_newlines(serve: Serve) -> None:
    served = ready(serve, "a = 1\n", "    b = 2")
    texts = []
    with served.client() as client:
        for newline in ("\n", "\r\n"):
            segments = {"prefix": f"def f():{newline}    ", "suffix": newline, "filepath": "m.py"}
            answer = client.post("/v1/completions", json={"language": "python", "segments": segments})
            texts.append(answer.json()["choices"][0]["text"])
    assert texts == ["a = 1\n    b = 2", "a = 1\r\n    b = 2"]
    assert isinstance(served.engine, ScriptedEngine)
    assert len(served.engine.jobs) == 1


def test_events(serve: Serve) -> None:
    served = ready(serve)
    with served.client() as client:
        completion_id = client.post("/v1/completions", json=BODY).json()["id"]
        event = {"completion_id": completion_id, "choice_index": 0, "view_id": "v1", "elapsed": 100}
        for kind in ("view", "select", "dismiss"):
            answer = client.post("/v1/events?select_kind=line", json={"type": kind, **event})
            assert (answer.status_code, answer.content) == (200, b"")
        for bad in ({"type": "other", **event}, {"type": "view"}, {}):
            assert client.post("/v1/events", json=bad).status_code == 400
        shown = client.get("/metrics").text
    for name in ("answered", "shown", "accepted", "dismissed"):
        assert f'kodify_completions_{name}_total{{language="python",model="scripted"}} 1.0' in shown


def test_chat_with_an_empty_model_name(serve: Serve) -> None:
    served = ready(serve)
    chat = {"model": "", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with served.client() as client:
        for path in ("/v1/chat/completions", "/v1beta/chat/completions"):
            lines = client.post(path, json=chat).text.split("\n\n")
            assert json.loads(lines[0].removeprefix("data: "))["model"] == "scripted"
            assert lines[-2] == "data: [DONE]"
