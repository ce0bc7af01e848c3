"""One `kodify serve` on the built-in model for the whole run: the real engine behind a real socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from kodify.settings import Settings
from tests.conftest import free_port

KODIFY = str(Path(sys.executable).parent / "kodify")
START_LIMIT_S = 400  # several may start at once
MODEL = "kodify-nano"


@dataclass
class Process:
    """A running `kodify serve`."""

    popen: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self.popen.poll() is not None:
                raise RuntimeError(f"kodify ended with {self.popen.returncode}:\n{self.log.read_text()}")
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise RuntimeError(f"kodify was not healthy after {START_LIMIT_S} s:\n{self.log.read_text()}")

    def family(self) -> list[psutil.Process]:
        own = psutil.Process(self.popen.pid)
        return [own, *own.children(recursive=True)]

    def resident_bytes(self) -> int:
        """Of all its processes; pages that they share are counted once."""
        return sum(process.memory_full_info().pss for process in self.family())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(60)


def environment(**variables: str) -> dict[str, str]:
    """This process's, without Kodify's variables, which a developer may have set."""
    names = {field.alias for field in Settings.model_fields.values()}
    own = {k: v for k, v in os.environ.items() if k not in names}
    return {**own, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", **variables}


def start_kodify(folder: Path, **variables: str) -> Process:
    """Not yet healthy. The folder is its working directory, so that no .env or config.yml is found."""
    port = free_port()
    log = folder / "kodify.log"
    with log.open("w") as output:
        popen = subprocess.Popen(
            [KODIFY, "serve", "--port", str(port)],
            env=environment(**variables),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return Process(popen, port, log)


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = start_kodify(tmp_path_factory.mktemp("nano"))
    try:
        process.wait_until_healthy()
        yield process
    finally:
        process.stop()


@pytest.fixture
def client(nano: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=nano.url, timeout=120) as found:
        yield found


@pytest.fixture
def sdk(nano: Process) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{nano.url}/v1", api_key="none", max_retries=0, timeout=120) as found:
        yield found
