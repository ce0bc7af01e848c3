"""The process: how it refuses, starts, ends, and that it forgets what clients gave up."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import eventually
from tests.integration.conftest import KODIFY, MODEL, Process, environment, start_kodify


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KODIFY, *words], env=environment(**variables), cwd=folder, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"MODEL": "/no/such/model"}, "kodify: MODEL names /no/such/model"),
        ({"GPUUTIL": "7"}, "kodify: GPUUTIL must be a share above 0 and up to 1, got '7'."),
        ({"DTYPE": "int3"}, "kodify: DTYPE must be one of"),
        ({"MTSAI_AUTH": "true", "AUTH_TYPE": "DB"}, "kodify: MTSAI_AUTH=true needs DB_URL"),
        ({"LOGS": "True"}, "kodify: LOGS=True needs LOGS_DB_HOST"),
    ],
)
def test_serve_refuses_with_one_sentence(tmp_path: Path, variables: dict[str, str], sentence: str) -> None:
    ended = run(tmp_path, "serve", **variables)
    assert ended.returncode == 1
    assert ended.stderr.startswith(sentence)
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_serve_refuses_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = run(tmp_path, "serve", PORT=port)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"kodify: 127.0.0.1:{port} is in use or not an address of this machine: set PORT or HOST to a free one.\n"
    )


def test_serve_refuses_a_bad_config_file_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("models:\n  - name: a\n    colour: red\n")
    ended = run(tmp_path, "serve")
    assert ended.returncode == 1
    assert "config.yml, line 2: models.0.path: Field required." in ended.stderr


def test_an_argument_that_vllm_does_not_know_stops_the_start(tmp_path: Path) -> None:
    process = start_kodify(tmp_path, ADDITIONAL_ARGS="--max-model-length=5")
    assert process.popen.wait(120) == 1
    log = process.log.read_text()
    assert "kodify: ADDITIONAL_ARGS has --max-model-length, which vLLM does not know: did you mean" in log
    assert "Traceback" not in log


def test_check_prints_settings_and_verdicts(tmp_path: Path) -> None:
    fine = run(tmp_path, "check", VLLM_API_KEY="s3cret", PORT="18099")
    assert fine.returncode == 0, fine.stderr
    assert "VLLM_API_KEY=********" in fine.stdout
    assert "s3cret" not in fine.stdout
    assert fine.stdout.endswith("Kodify would start.\n")
    bad = run(tmp_path, "check", PORT="18099", ADDITIONAL_ARGS="--max-model-length=5")
    assert bad.returncode == 1
    assert "problem: ADDITIONAL_ARGS has --max-model-length, which vLLM does not know" in bad.stderr


def test_it_opens_its_port_at_once_tells_its_progress_and_ends_cleanly(tmp_path: Path) -> None:
    process = start_kodify(tmp_path, VLLM_API_KEY="s3cret")
    try:
        loading = _first_answer(process)
        assert loading.status_code == 503
        assert int(loading.headers["retry-after"]) > 0
        process.wait_until_healthy()
        family = process.family()
        body = {"model": MODEL, "prompt": "x", "max_tokens": 2}
        assert httpx.post(f"{process.url}/v1/completions", json=body, timeout=60).status_code == 401
        headers = {"authorization": "Bearer s3cret"}
        answer = httpx.post(f"{process.url}/v1/completions", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200
    finally:
        code = process.stop(signal.SIGTERM)
    assert code == 0
    assert psutil.wait_procs(family, timeout=30)[1] == [], "a process was left behind"
    log = process.log.read_text()
    assert log.startswith(f"kodify: loading {MODEL} …\n")
    block = log[log.index("Kodify ") :]
    for part in ("model ", "device ", "KV cache ", "auth      one token", "journal   off", process.url, "curl "):
        assert part in block
    assert "s3cret" not in log
    assert block.strip().splitlines()[-1].strip().startswith("curl ")  # nothing is printed on the way out


def test_a_signal_while_loading_ends_it_and_leaves_no_process(tmp_path: Path) -> None:
    process = start_kodify(tmp_path)
    try:
        _first_answer(process)
        eventually(lambda: len(process.family()) > 1, 120)  # the engine's process has been started
        family = process.family()
    finally:
        assert process.stop() == 0
    assert psutil.wait_procs(family, timeout=30)[1] == [], "a process was left behind"


def _first_answer(process: Process) -> httpx.Response:
    deadline = time.monotonic() + 60
    while True:
        try:
            return httpx.get(f"{process.url}/health", timeout=10)
        except httpx.TransportError:
            assert time.monotonic() < deadline, process.log.read_text()
            time.sleep(0.05)


def test_with_wait_vllm_it_gives_up_in_time(tmp_path: Path) -> None:
    process = start_kodify(tmp_path, WAIT_VLLM="1", WAIT_VLLM_ATTEMPTS="2", WAIT_VLLM_TIMEOUT="0.5")
    assert process.popen.wait(120) == 1
    assert "The engine was not ready after 1 s: raise WAIT_VLLM_ATTEMPTS." in process.log.read_text()
    assert "Traceback" not in process.log.read_text()


def test_with_wait_vllm_a_signal_ends_the_load(tmp_path: Path) -> None:
    process = start_kodify(tmp_path, WAIT_VLLM="1")
    eventually(lambda: len(process.family()) > 1, 120)
    assert process.stop() == 0
    log = process.log.read_text()
    assert "is ready" not in log
    assert "Traceback" not in log


def test_a_model_that_cant_be_loaded_ends_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "nothing"}')
    process = start_kodify(tmp_path, MODEL="./model")
    assert process.popen.wait(120) == 1
    log = process.log.read_text()
    assert "kodify: The model at ./model can't be loaded: " in log
    assert "Traceback" not in log


def test_all_processes_together_fit_a_laptop(nano: Process) -> None:
    body = {"model": MODEL, "prompt": "x = 1\n" * 600, "max_tokens": 200, "ignore_eos": True}
    assert httpx.post(f"{nano.url}/v1/completions", json=body, timeout=120).status_code == 200
    resident = sum(process.memory_info().rss for process in nano.family())
    assert resident < 3 * 10**9, f"{resident / 1e9:.2f} GB"


def test_a_thousand_requests_given_up_midway_leave_nothing_behind(nano: Process) -> None:
    def running() -> int:
        return int(httpx.get(f"{nano.url}/ready", timeout=30).json()["running"])

    asyncio.run(_give_up(nano.port, 200))  # what grows once, with the first requests, has grown now
    _settle(running)
    own = psutil.Process(nano.popen.pid)
    own_before, before = own.memory_full_info().pss, nano.resident_bytes()
    asyncio.run(_give_up(nano.port, 1000))
    _settle(running)
    own_grown, grown = own.memory_full_info().pss - own_before, nano.resident_bytes() - before
    assert own_grown < 4e6, f"{own_grown / 1e6:.1f} MB more in Kodify's process"
    # The engine's KV cache is reserved at the start and becomes resident where it is first written.
    assert grown < 48e6, f"{grown / 1e6:.0f} MB more in all"


def _settle(running: object) -> None:
    assert callable(running)
    deadline = time.monotonic() + 60
    while running():
        assert time.monotonic() < deadline, "the engine still runs what clients gave up"
        time.sleep(0.05)


async def _give_up(port: int, count: int) -> None:
    """Requests of 2,000 tokens, whole and streamed, cut at different moments."""
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        streamed = number % 2 == 0
        body = {"model": MODEL, "prompt": f"# {number}\n", "max_tokens": 2000, "ignore_eos": True, "stream": streamed}
        content = json.dumps(body).encode()
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
            writer.write(head.encode() + content)
            await writer.drain()
            if streamed:
                await reader.readuntil(b"data: ")
            await asyncio.sleep((number % 7) * 0.01)
            writer.close()

    await asyncio.gather(*(one(number) for number in range(count)))
