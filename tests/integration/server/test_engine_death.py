"""The engine's process dies or hangs: every answer ends with an error, health says so, and Kodify ends or recovers."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from kodify.settings import NANO_PATH
from tests.conftest import eventually
from tests.integration.conftest import MODEL, Process, start_kodify
from tests.integration.server.test_adapters import make_adapter

LONG = {"model": MODEL, "prompt": "x", "max_tokens": 3000, "ignore_eos": True}
SHORT = {"model": MODEL, "prompt": "x", "max_tokens": 2}


class Load:
    """Two answers on their way, one streamed."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.answers: list[Any] = []
        self.threads = [threading.Thread(target=self._ask, args=(stream,)) for stream in (True, False)]
        for thread in self.threads:
            thread.start()
        eventually(lambda: httpx.get(f"{process.url}/ready", timeout=30).json().get("running") == 2, 30)

    def _ask(self, stream: bool) -> None:
        answer = httpx.post(f"{self.process.url}/v1/completions", json={**LONG, "stream": stream}, timeout=60)
        self.answers.append(json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: ")))

    def assert_failed(self) -> None:
        for thread in self.threads:
            thread.join(60)
        assert [answer["error"]["code"] >= 500 for answer in self.answers] == [True, True]


def health(process: Process) -> int:
    return httpx.get(f"{process.url}/health", timeout=30).status_code


def engines(process: Process) -> list[psutil.Process]:
    return [child for child in process.family()[1:] if "EngineCore" in " ".join(child.cmdline())]


@pytest.fixture(scope="module")
def restarting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("restarting")
    adapters = {
        "gone": str(make_adapter(folder / "gone", rank=4, scale=0.3, seed=2)),
        "other": str(make_adapter(folder / "other", rank=4, scale=0.3)),
    }
    model = {"name": MODEL, "path": str(NANO_PATH), "adapters": adapters}
    (folder / "config.yml").write_text(yaml.safe_dump({"models": [model]}))
    process = start_kodify(folder, ENGINE_ON_FAILURE="restart", ENGINE_STALL_S="3", ENGINE_READER="vllm")
    try:
        process.wait_until_healthy()
        yield process
    finally:
        process.stop()


def test_a_dead_engine_ends_every_answer_and_then_kodify(tmp_path: Path) -> None:
    process = start_kodify(tmp_path)
    try:
        process.wait_until_healthy()
        load = Load(process)
        family = process.family()
        for child in family[1:]:
            child.kill()
        eventually(lambda: health(process) == 503)
        load.assert_failed()
        assert process.popen.wait(30) == 1
    finally:
        process.stop(signal.SIGKILL)
    assert psutil.wait_procs(family, timeout=30)[1] == [], "a process was left behind"
    assert "Kodify ends, for it can't serve: The engine has stopped." in process.log.read_text()


def said(process: Process, model: str) -> str:
    body = {"model": model, "prompt": "def f(", "max_tokens": 16, "temperature": 0, "ignore_eos": True}
    answer = httpx.post(f"{process.url}/v1/completions", json=body, timeout=60)
    return str(answer.json()["choices"][0]["text"]) if answer.status_code == 200 else str(answer.status_code)


def test_an_engine_is_started_again_where_that_is_set(restarting: Process) -> None:
    before = {name: said(restarting, name) for name in (MODEL, "other")}
    assert before[MODEL] != before["other"]
    (restarting.log.parent / "gone" / "adapter_config.json").unlink()
    load = Load(restarting)
    for child in engines(restarting):
        child.kill()
    eventually(lambda: health(restarting) == 503)
    load.assert_failed()
    refused = httpx.post(f"{restarting.url}/v1/completions", json=SHORT, timeout=30)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    eventually(lambda: health(restarting) == 200, 120)
    assert {name: said(restarting, name) for name in before} == before
    assert said(restarting, "gone") == "404"  # it could not be loaded again, which is no reason not to serve
    metrics = httpx.get(f"{restarting.url}/metrics", timeout=30).text
    assert f'kodify_engine_restarts_total{{model="{MODEL}"}} 1.0' in metrics
    assert "vllm:num_requests_running" in metrics


def test_an_engine_that_hangs_counts_as_dead(restarting: Process) -> None:
    assert httpx.post(f"{restarting.url}/v1/completions", json=SHORT, timeout=60).status_code == 200
    load = Load(restarting)
    stuck = engines(restarting)
    for child in stuck:
        child.suspend()
    eventually(lambda: health(restarting) == 503)
    load.assert_failed()
    eventually(lambda: health(restarting) == 200, 120)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in stuck)
    assert httpx.post(f"{restarting.url}/v1/completions", json=SHORT, timeout=60).status_code == 200
