"""Editors' completions on the real engine: what it runs, what it has cached, what it is told to stop."""

from __future__ import annotations

import asyncio
import sysconfig
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodify.preprocess.presets import read_preset
from kodify.settings import NANO_PATH
from tests.conftest import eventually
from tests.integration.conftest import Process, start_kodify

SOURCE = Path(sysconfig.get_path("stdlib"), "argparse.py").read_text(encoding="utf-8")
TYPED, PER_SECOND = 200, 20
MIB = 1 << 20
BLOCK = 128  # tokens that a CPU's cache keeps or loses together


def infill(nano: Process, prefix: str, suffix: str = "\n", **fields: Any) -> dict[str, Any]:
    body = {"input_prefix": prefix, "input_suffix": suffix, "n_predict": 16, **fields}
    answer = httpx.post(f"{nano.url}/infill", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_after_a_keystroke_the_engine_has_what_stood_before(nano: Process) -> None:
    most = read_preset(NANO_PATH / "fim.json").max_prompt_tokens or 0
    prefix = f"# {Path(__file__).stat().st_mtime_ns}\n{SOURCE[:20_000]}"
    prefix, suffix = prefix[: prefix.rindex("\n") + 1] + "    value = ", SOURCE[21_000:]
    first = infill(nano, prefix, suffix)
    second = infill(nano, prefix + "a", suffix)
    assert most * 0.6 < second["tokens_evaluated"] <= most
    # All whole blocks of the cache: suffix and prefix begin as they did.
    assert second["tokens_cached"] == (first["tokens_evaluated"] - 2) // BLOCK * BLOCK > 0, (first, second)
    assert second["timings"]["prompt_n"] == second["tokens_evaluated"] - second["tokens_cached"]


def test_nothing_to_predict_warms_the_cache(nano: Process) -> None:
    prefix = f"# warm {Path(__file__).stat().st_mtime_ns}\n{SOURCE[30_000:34_000]}\n    x = "
    assert infill(nano, prefix, n_predict=0)["content"] == ""
    found = infill(nano, prefix)
    assert found["tokens_cached"] == (found["tokens_evaluated"] - 1) // BLOCK * BLOCK > 0


async def test_typing_through_a_file(nano: Process) -> None:
    """One person, 20 keystrokes a second: the engine never works on two of them, and nobody is shown an answer to an
    older text after one to a newer."""
    start = SOURCE.index("class HelpFormatter")
    delivered: list[tuple[int, str]] = []
    most_running = 0
    ended = asyncio.Event()

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        segments = {"prefix": SOURCE[: start + number], "suffix": SOURCE[start + TYPED :], "filepath": "argparse.py"}
        answer = await client.post("/v1/completions", json={"language": "python", "segments": segments})
        assert answer.status_code == 200
        delivered.append((number, answer.json()["choices"][0]["text"]))

    async def watch(client: httpx.AsyncClient) -> None:
        nonlocal most_running
        while not ended.is_set():
            most_running = max(most_running, (await client.get("/ready")).json()["running"])

    limits = httpx.Limits(max_connections=TYPED)
    async with httpx.AsyncClient(base_url=nano.url, timeout=60, limits=limits) as client:
        watching = asyncio.create_task(watch(client))
        asking = []
        for number in range(TYPED):
            asking.append(asyncio.create_task(ask(client, number)))
            await asyncio.sleep(1 / PER_SECOND)
        await asyncio.gather(*asking)
        ended.set()
        await watching
        shown = (await client.get("/metrics")).text
    assert len(delivered) == TYPED
    assert most_running == 1
    said = [number for number, text in delivered if text]
    assert said, "no completion came through"
    assert said == sorted(said)
    assert 'kodify_completions_answered_total{language="python",model="kodify-nano"}' in shown


@pytest.mark.parametrize("size", [10 * MIB])
def test_a_prefix_of_megabytes_is_trimmed(nano: Process, size: int) -> None:
    prefix = (SOURCE * (size // len(SOURCE) + 1))[:size]
    answer = infill(nano, prefix, SOURCE, n_predict=4)
    assert answer["tokens_evaluated"] < 4096
    assert infill(nano, "x" * size, n_predict=4)["tokens_evaluated"] < 4096


def test_a_deadline_beside_a_suffix(nano: Process) -> None:
    body = {"model": "kodify-nano", "prompt": "x = [\n", "suffix": "]\n", "max_tokens": 1000, "deadline_ms": 30}
    answer = httpx.post(f"{nano.url}/v1/completions", json=body, timeout=60).json()
    assert answer["usage"]["completion_tokens"] < 1000
    refused = httpx.post(f"{nano.url}/v1/completions", json={**body, "deadline_ms": "soon"}, timeout=60)
    assert refused.status_code == 400


def _there(server: Process) -> int:
    """Requests in the engine and in line for it."""
    ready = httpx.get(f"{server.url}/ready").json()
    return int(ready["running"] + ready["waiting"])


async def test_completions_go_before_chats(tmp_path: Path) -> None:
    """The engine works on one at a time: whoever asked for a completion last is served before the chats that wait."""
    server = start_kodify(tmp_path, ADDITIONAL_ARGS="--max-num-seqs 1")
    ended: list[str] = []
    try:
        await asyncio.to_thread(server.wait_until_healthy)
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:

            async def ask(name: str, path: str, body: dict[str, Any]) -> None:
                (await client.post(path, json=body)).raise_for_status()
                ended.append(name)

            chat = {
                "model": "kodify-nano",
                "messages": [{"role": "user", "content": "x"}],
                "max_tokens": 150,
                "ignore_eos": True,
                "priority": -100,  # a client can't go before the others by itself
            }
            asking = [asyncio.create_task(ask("chat", "/v1/chat/completions", chat)) for _ in range(6)]
            await asyncio.to_thread(eventually, lambda: _there(server) == len(asking))
            segments = {"prefix": "def f(x):\n    return ", "suffix": "\n", "filepath": "m.py"}
            asking.append(asyncio.create_task(ask("completion", "/v1/completions", {"segments": segments})))
            await asyncio.gather(*asking)
    finally:
        server.stop()
    assert ended.index("completion") <= 2, ended
