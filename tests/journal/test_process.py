"""The journal over the end of its process: killed, or told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO

import httpx
import pytest
from pydantic import SecretStr

from kodify.settings import Settings
from tests.conftest import eventually, free_port
from tests.journal.clients import Clients, connected, request
from tests.journal.conftest import Place

KILLS = 20
STREAMS = 64
DRAIN_S = 2


class Process:
    def __init__(self, place: Place, log: IO[str], **variables: str) -> None:
        names = {field.alias for field in Settings.model_fields.values()}
        own = {k: v for k, v in os.environ.items() if k not in names}
        given = {k: str(v.get_secret_value() if isinstance(v, SecretStr) else v) for k, v in place.variables.items()}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.scripted_server"],
            env={**own, **given, "PORT": str(self.port), **variables},
            cwd=Path(__file__).parents[2],
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
            got = asyncio.run(ask_until_killed(process, f"{number}-", 0.15 + 0.03 * number))
            assert len(got) > 16, "there was no load"
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


@pytest.mark.parametrize("endless", [False, True], ids=["that end", "that do not"])
def test_a_stop_with_streams_running_journals_all_of_them(place: Place, tmp_path: Path, endless: bool) -> None:
    async def stream(process: Process, begun: asyncio.Semaphore) -> None:
        async with connected(process.port) as (reader, writer):
            writer.write(request("r", stream=True))
            await reader.read(1)
            begun.release()
            with contextlib.suppress(OSError):
                while await reader.read(65536):
                    pass

    async def main(process: Process) -> None:
        begun = asyncio.Semaphore(0)
        streams = [asyncio.create_task(stream(process, begun)) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await begun.acquire()
        process.popen.terminate()
        await asyncio.wait_for(asyncio.gather(*streams), 60)

    variables = {"SCRIPT": "endless"} if endless else {}
    with (tmp_path / "log").open("w+") as log:
        process = Process(place, log, DRAIN_S=str(DRAIN_S), **variables)
        asyncio.run(main(process))
        assert process.popen.wait(30) == 0
    rows = place.rows()
    assert len(rows) == STREAMS
    assert {row["status_code"] for row in rows} == ({503} if endless else {200})
    assert {row["cancelled"] for row in rows} == {endless}
    assert all(row["completion_tokens"] > 0 for row in rows)
