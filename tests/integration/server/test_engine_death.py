"""The engine's process dies: every answer ends with an error, health says so, and the server still ends cleanly."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import eventually
from tests.integration.conftest import MODEL, Process, start_kodify


def ask(process: Process, answers: list[Any], *, stream: bool) -> None:
    body = {"model": MODEL, "prompt": "x", "max_tokens": 3000, "ignore_eos": True, "stream": stream}
    answer = httpx.post(f"{process.url}/v1/completions", json=body, timeout=60)
    answers.append(json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: ")))


@pytest.mark.parametrize("reader", ["kodify", "vllm"])
def test_a_dead_engine_ends_every_answer(tmp_path: Path, reader: str) -> None:
    process = start_kodify(tmp_path, ENGINE_READER=reader)
    answers: list[Any] = []
    threads = [threading.Thread(target=ask, args=(process, answers), kwargs={"stream": s}) for s in (True, False)]
    try:
        process.wait_until_healthy()
        for thread in threads:
            thread.start()
        ready = f"{process.url}/ready"
        eventually(lambda: httpx.get(ready, timeout=30).json().get("running") == 2, 30)
        family = process.family()
        for child in family[1:]:
            child.kill()
        for thread in threads:
            thread.join(10)
        assert [answer["error"]["code"] >= 500 for answer in answers] == [True, True]
        eventually(lambda: httpx.get(f"{process.url}/health", timeout=30).status_code == 503, 10)
        body = {"model": MODEL, "prompt": "x", "max_tokens": 2}
        refused = httpx.post(f"{process.url}/v1/completions", json=body, timeout=10)
        assert refused.status_code >= 500
        assert refused.json()["message"]
    finally:
        code = process.stop(signal.SIGTERM)
    assert code == 0
    assert psutil.wait_procs(family, timeout=10)[1] == [], "a process was left behind"


def test_an_engine_that_died_idle_refuses_the_first_request(tmp_path: Path) -> None:
    process = start_kodify(tmp_path)
    try:
        process.wait_until_healthy()
        for child in process.family()[1:]:
            child.kill()
        body = {"model": MODEL, "prompt": "x", "max_tokens": 2}
        refused = httpx.post(f"{process.url}/v1/completions", json=body, timeout=10)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
    finally:
        assert process.stop(signal.SIGTERM) == 0
