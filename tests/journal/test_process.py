"""The journal over the end of its process: killed, or told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO

import httpx

from kodify.settings import Settings
from tests.conftest import eventually, free_port
from tests.journal.clients import Clients, connected, request
from tests.journal.conftest import Place

KILLS = int(os.environ.get("KODIFY_KILLS", "8"))
STREAMS = 64
ROOT = Path(__file__).parents[2]
DRAINS = int(os.environ.get("KODIFY_DRAINS", "2"))  # of each kind


class Process:
    def __init__(self, place: Place, log: IO[str], cwd: Path | None = None, **variables: str) -> None:
        names = {field.alias for field in Settings.model_fields.values()}
        own = {k: v for k, v in os.environ.items() if k not in names}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.scripted_server"],
            env={**own, **place.environment, "PORT": str(self.port), "PYTHONPATH": str(ROOT), **variables},
            cwd=cwd or ROOT,
            stdout=log,
            stderr=log,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{self.url}/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.popen.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.02)


async def ask_until_killed(process: Process, prefix: str, kill_after_s: float) -> list[str]:
    """The ids of the requests whose answers' ends arrived, whole and streamed, before the process was killed."""
    clients = Clients(process.port, prefix)

    async def kill() -> None:
        while len(clients.answered) <= 16:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(kill_after_s)
        process.popen.send_signal(signal.SIGKILL)

    await asyncio.gather(kill(), clients.run(1_000_000, 16))
    process.popen.wait(30)
    return clients.answered


def test_whoever_got_a_whole_answer_is_in_the_journal_after_a_kill(place: Place, tmp_path: Path) -> None:
    ended: list[str] = []
    with (tmp_path / "log").open("w+") as log:
        for number in range(KILLS):
            process = Process(place, log)
            got = asyncio.run(ask_until_killed(process, f"{number}-", 0.6 * number / KILLS))
            ended += got
        last = Process(place, log)
        try:
            eventually(lambda: not missing(place, ended), 30)
        finally:
            last.popen.terminate()
            last.popen.wait(30)
    counts = Counter(row["request_id"] for row in place.rows("SELECT request_id FROM journal"))
    assert set(counts.values()) == {1}
    spools = Path(str(place.variables["DATA_PATH"])) / "journal"
    assert list(spools.iterdir()) == []  # nothing is left to replay


def missing(place: Place, ended: list[str]) -> set[str]:
    return set(ended) - {row["request_id"] for row in place.rows("SELECT request_id FROM journal")}


async def streams_over_a_stop(process: Process, prefix: str) -> list[bytes]:
    """What each of the streams told to its end; the process is told to stop when all of them have begun."""
    begun = asyncio.Semaphore(0)

    async def stream(name: str) -> bytes:
        async with connected(process.port) as (reader, writer):
            writer.write(request(name, stream=True))
            told = await reader.readuntil(b"piece")
            begun.release()
            with contextlib.suppress(OSError):
                told += await reader.read(-1)
            return told

    streams = [asyncio.create_task(stream(f"{prefix}{number}")) for number in range(STREAMS)]
    for _ in range(STREAMS):
        await begun.acquire()
    process.popen.terminate()
    return await asyncio.wait_for(asyncio.gather(*streams), 60)


def test_streams_that_end_in_time_end_whole_and_are_journaled(place: Place, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        for number in range(DRAINS):
            process = Process(place, log, PAUSE_S="0.05")
            told = asyncio.run(streams_over_a_stop(process, f"{number}-"))
            assert process.popen.wait(30) == 0
            assert [one.count(b"data: [DONE]") for one in told] == [1] * STREAMS
    rows = place.rows()
    assert len({row["request_id"] for row in rows}) == len(rows) == STREAMS * DRAINS
    assert {(row["status_code"], row["completion_tokens"], row["cancelled"]) for row in rows} == {(200, 20, False)}


def test_streams_past_the_limit_end_with_an_error_and_are_journaled(place: Place, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        process = Process(place, log, DRAIN_TIMEOUT="1", PAUSE_S="0.3")
        told = asyncio.run(streams_over_a_stop(process, ""))
        assert process.popen.wait(30) == 0
    for one in told:
        assert b"[DONE]" not in one
        last = [line for line in one.splitlines() if line.startswith(b"data: ")][-1]
        assert json.loads(last[6:])["error"]["message"] == "The server is stopping. Please try again later"
    rows = place.rows()
    assert len(rows) == STREAMS
    assert {row["status_code"] for row in rows} == {503}
    assert all(0 < row["completion_tokens"] < 20 for row in rows)


def test_while_it_drains_probes_and_new_requests_are_told(place: Place, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        process = Process(place, log, PAUSE_S="0.2")
        with httpx.Client(base_url=process.url, timeout=30) as kept, httpx.Client(base_url=process.url) as other:
            body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
            assert kept.get("/ready").status_code == 200
            with other.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.popen.terminate()
                eventually(lambda: httpx.get(f"{process.url}/ready").status_code == 503)
                assert kept.get("/health").status_code == 200
                for client in (kept, httpx.Client(base_url=process.url)):  # a kept connection, and a new one
                    refused = client.post("/v1/chat/completions", json=body)
                    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
                    assert "stopping" in refused.json()["message"]
                    client.close()
                assert "data: [DONE]" in list(lines)
        assert process.popen.wait(30) == 0


def test_a_second_signal_cuts_at_once(place: Place, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        process = Process(place, log, SCRIPT="endless", PAUSE_S="0.05", DRAIN_TIMEOUT="600")
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=body, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.popen.terminate()
            eventually(lambda: httpx.get(f"{process.url}/ready").status_code == 503)
            process.popen.terminate()
            assert "The server is stopping" in list(lines)[-2]
        assert process.popen.wait(30) == 0
    assert [row["status_code"] for row in place.rows()] == [503]


def test_a_hang_up_reads_the_log_level_again(place: Place, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        process = Process(place, log, cwd=tmp_path)
        try:
            for text, told in (
                ("LOG_LEVEL=debug", "were read again"),
                ("LOG_LEVEL=loud", "stay as they are: LOG_LEVEL"),
            ):
                (tmp_path / ".env").write_text(text + "\n")
                process.popen.send_signal(signal.SIGHUP)
                eventually(lambda told=told: told in (tmp_path / "log").read_text())  # type: ignore[misc]
            assert httpx.get(f"{process.url}/ready").status_code == 200
        finally:
            process.popen.terminate()
            assert process.popen.wait(30) == 0
