"""Kodify before processes of its own kind, which are killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import openai
import pytest

from kodify.engine.upstream import UpstreamEngine
from kodify.engine.upstream_pool import UpstreamOptions
from kodify.settings import Settings
from tests import conftest
from tests.conftest import eventually, free_port
from tests.integration.conftest import environment

# Says a few words, or to `endless` goes on for ever.
BEHIND = """
import asyncio, sys
import uvicorn
from kodify.app import build_app
from kodify.engine.base import Delta
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.settings import Settings

class Engine(ScriptedEngine):
    async def _say(self, job, sink):
        if "endless" not in job.prompts[0].text:
            return await super()._say(job, sink)
        while True:
            await asyncio.sleep(0.01)
            sink.emit(Delta(0, "on and ", (1,)))

app = build_app(Settings(_env_file=None), Engine(Script(pieces=("Good", " day"))))
uvicorn.run(app, port=int(sys.argv[1]), log_config=None, lifespan="on", ws="none")
"""


@dataclass
class Behind:
    popen: subprocess.Popen[bytes]
    url: str

    def is_well(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(10)


@contextlib.contextmanager
def behind(port: int) -> Iterator[Behind]:
    popen = subprocess.Popen([sys.executable, "-c", BEHIND, str(port)], env=environment())
    found = Behind(popen, f"http://127.0.0.1:{port}")
    try:
        eventually(found.is_well, 60)
        yield found
    finally:
        found.kill()


@pytest.fixture
def two() -> Iterator[tuple[Behind, Behind]]:
    with behind(free_port()) as first, behind(free_port()) as second:
        yield first, second


@pytest.fixture
def front(settings: Settings, two: tuple[Behind, Behind]) -> Iterator[conftest.Served]:
    with conftest.serving(settings, UpstreamEngine([UpstreamOptions(one.url) for one in two])) as served:
        eventually(lambda: bool(served.app.state.ready))
        yield served


def test_one_of_two_is_killed(front: conftest.Served, two: tuple[Behind, Behind]) -> None:
    first, _ = two
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0, timeout=1) as sdk:
        stream = sdk.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "endless"}], stream=True
        )
        assert next(iter(stream)).choices[0].delta.role == "assistant"
        first.kill()
        with pytest.raises(openai.APIError, match="has stopped"):
            for _ in stream:
                pass
        answer = sdk.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "short"}])
        assert answer.choices[0].message.content == "Good day"


def test_nothing_is_lost_while_one_of_two_is_killed(front: conftest.Served, two: tuple[Behind, Behind]) -> None:
    """Whole answers: those that it was writing are begun again."""
    with front.client() as client, ThreadPoolExecutor(8) as threads:

        def ask(number: int) -> int:
            if number == 150:
                two[0].kill()
            body = {"model": "scripted", "prompt": f"x {number}"}
            return client.post("/v1/completions", json=body).status_code

        assert list(threads.map(ask, range(500))) == [200] * 500
