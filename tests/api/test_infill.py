"""What llama.cpp's plugins ask and read."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from kodify.engine.base import Job
from kodify.engine.scripted import Script, ScriptedEngine
from tests.conftest import Serve, Served, eventually

BODY: dict[str, Any] = {"input_prefix": "def add(a, b):\n", "prompt": "    return ", "input_suffix": "\n"}
VIM_FIELDS = ["content", "timings/prompt_n", "timings/predicted_ms", "truncated", "tokens_cached", "nothing/at_all", ""]


def engine_of(served: Served) -> ScriptedEngine:
    assert isinstance(served.engine, ScriptedEngine)
    return served.engine


def prompt_of(served: Served) -> str:
    return served.engine.vocabulary.decode(engine_of(served).jobs[-1].prompts[0].token_ids)


def ready(serve: Serve, *pieces: str, endless: bool = False, **variables: object) -> Served:
    served = serve(Script(pieces=pieces or ("a ", "+ b"), endless=endless), **variables)
    eventually(lambda: bool(served.app.state.ready))
    return served


def test_an_answer(serve: Serve) -> None:
    served = ready(serve)
    with served.client() as client:
        body = client.post("/infill", json=BODY).json()
    assert body["content"] == "a + b"
    assert (body["stop"], body["truncated"], body["tokens_predicted"]) == (True, False, 2)
    assert body["timings"]["prompt_n"] == body["tokens_evaluated"] == len(prompt_of_ids(served))
    assert all(body["timings"][name] >= 0 for name in ("prompt_ms", "predicted_ms", "predicted_per_second"))
    assert body["generation_settings"]["n_ctx"] == 4096
    assert prompt_of(served) == "<|fim_prefix|>def add(a, b):\n    return <|fim_suffix|>\n<|fim_middle|>"


def prompt_of_ids(served: Served) -> list[int]:
    return engine_of(served).jobs[-1].prompts[0].token_ids


def test_the_fields_that_are_asked_for(serve: Serve) -> None:
    served = ready(serve)
    with served.client() as client:
        body = client.post("/infill", json={**BODY, "response_fields": VIM_FIELDS}).json()
    assert set(body) == {"content", "timings/prompt_n", "timings/predicted_ms", "truncated", "tokens_cached"}


def test_a_stream(serve: Serve) -> None:
    served = ready(serve, "a = 1\n", "    b = 2\n", "    return b")
    with served.client() as client:
        text = client.post("/infill", json={**BODY, "prompt": "    ", "stream": True}).text
    events = [json.loads(event.removeprefix("data: ")) for event in text.strip().split("\n\n")]
    assert "".join(event["content"] for event in events) == "a = 1\n    b = 2\n    return b"
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["timings"]["predicted_n"] == 3


def test_other_files_come_first_in_the_clients_order(serve: Serve) -> None:
    served = ready(serve)
    extra = [{"filename": "z.py", "text": "Z = 1\n", "time": [1, 2]}, {"filename": "a.py", "text": "A = 1\n"}]
    with served.client() as client:
        assert client.post("/infill", json={**BODY, "input_extra": extra}).status_code == 200
    prompt = prompt_of(served)
    assert prompt.index("Z = 1") < prompt.index("A = 1") < prompt.index("def add")


def test_nothing_to_predict_warms_the_cache_up_behind_all_others(serve: Serve) -> None:
    served = ready(serve)
    extra = [{"filename": "z.py", "text": "Z = 1\n"}]
    body = {"input_prefix": "", "input_suffix": "", "prompt": "", "input_extra": extra, "n_predict": 0}
    with served.client() as client:
        answer = client.post("/infill", json={**body, "t_max_prompt_ms": 1, "t_max_predict_ms": 1})
    assert (answer.status_code, answer.json()["content"]) == (200, "")
    assert "Z = 1" in prompt_of(served)
    assert engine_of(served).jobs[-1].priority > 0


def test_a_streamed_warm_up_says_nothing(serve: Serve) -> None:
    served = ready(serve)
    with served.client() as client:
        text = client.post("/infill", json={**BODY, "n_predict": 0, "stream": True}).text
    assert [json.loads(event.removeprefix("data: "))["content"] for event in text.strip().split("\n\n")] == [""]


def test_the_least_indentation(serve: Serve) -> None:
    served = ready(serve, "a\n", "        b\n", "    c\n")
    with served.client() as client:
        for indent, text in ((0, "a\n        b\n    c"), (8, "a\n        b")):
            assert client.post("/infill", json={**BODY, "n_indent": indent}).json()["content"] == text


def test_the_time_to_predict_ends_it_with_what_is_there(serve: Serve) -> None:
    served = ready(serve, endless=True)
    with served.client() as client:
        body = client.post("/infill", json={**BODY, "n_predict": -1, "t_max_predict_ms": 50}).json()
    assert body["content"].startswith("on and on")
    assert body["stop_type"] == "limit"
    eventually(lambda: engine_of(served).cancelled == 1)


def test_the_servers_deadline_ends_it_too(serve: Serve) -> None:
    served = ready(serve, endless=True, COMPLETION_DEADLINE_S=0.05)
    with served.client() as client:
        assert client.post("/infill", json=BODY).json()["content"].startswith("on and on")
        assert "kodify_completions_late_total 1.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input_prefix": None}, "input_prefix"),
        ({"input_prefix": 5}, "input_prefix"),
        ({"input_suffix": ["x"]}, "input_suffix"),
        ({"n_predict": -7}, "n_predict"),
        ({"n_predict": "many"}, "n_predict"),
        ({"input_extra": [{"filename": "a"}]}, "input_extra"),
        ({"temperature": -1}, "temperature"),
    ],
)
def test_bad_bodies(serve: Serve, change: dict[str, Any], words: str) -> None:
    served = ready(serve)
    with served.client() as client:
        answer = client.post("/infill", json={**BODY, **change})
        assert client.post("/infill", json={}).status_code == 400
    assert answer.status_code == 400
    assert words in answer.json()["message"]


def test_props(serve: Serve) -> None:
    served = ready(serve)
    with served.client() as client:
        assert client.get("/props").json()["default_generation_settings"] == {"n_ctx": 4096}


def ask_behind(served: Served, body: dict[str, Any], answers: list[httpx.Response]) -> threading.Thread:
    def ask() -> None:
        with served.client() as client:
            answers.append(client.post("/infill", json=body))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_a_newer_completion_ends_the_older_with_nothing(serve: Serve) -> None:
    served = ready(serve, endless=True)
    engine, answers = engine_of(served), list[httpx.Response]()
    older = ask_behind(served, BODY, answers)
    eventually(lambda: len(engine.jobs) == 1)
    newer = ask_behind(served, {**BODY, "prompt": "    return a", "t_max_predict_ms": 1000}, answers)
    older.join(30)
    assert [answer.json()["content"] for answer in answers][:1] == [""]
    newer.join(30)
    assert answers[1].json()["content"].startswith("on and on")
    eventually(lambda: engine.running() == 0)
    with served.client() as client:
        assert "kodify_completions_superseded_total 1.0" in client.get("/metrics").text


def test_one_that_is_ended_before_it_runs(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = ready(serve, endless=True)
    engine, answers = engine_of(served), list[httpx.Response]()
    plain, waiting, newer_runs = engine.completion_job, threading.Event(), threading.Event()

    async def slow(request: Any, job_id: str) -> Job:
        monkeypatch.setattr(engine, "completion_job", plain)
        waiting.set()
        await asyncio.to_thread(newer_runs.wait, 30)
        return await plain(request, job_id)

    monkeypatch.setattr(engine, "completion_job", slow)
    older = ask_behind(served, BODY, answers)
    assert waiting.wait(30)
    newer = ask_behind(served, {**BODY, "prompt": "    return a", "t_max_predict_ms": 300}, answers)
    eventually(lambda: len(engine.jobs) == 1)
    newer_runs.set()
    older.join(30)
    assert answers[0].json()["content"] == ""
    newer.join(30)
    assert len(engine.jobs) == 1


def test_unless_it_is_switched_off(serve: Serve) -> None:
    served = ready(serve, endless=True, COMPLETION_SUPERSEDE=False)
    answers: list[httpx.Response] = []
    threads = [
        ask_behind(served, {**BODY, "prompt": "    return " + typed, "t_max_predict_ms": 1000}, answers)
        for typed in ("", "a")
    ]
    for thread in threads:
        thread.join(30)
    assert all(answer.json()["content"].startswith("on and on") for answer in answers)
