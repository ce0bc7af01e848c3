"""Owns the life of the processes under measurement: start, await, pin, pause, resume, end with all their children."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.measure import find_descendants, pin
from bench.rows import Launch

START_LIMIT_S = 180
STOP_LIMIT_S = 15
ANSWER_LIMIT_S = 120
POLL_S = 0.25
LOG_LINES_SHOWN = 15


class StartError(Exception):
    """A process under measurement did not come up; the text ends with the last lines of its log."""


class Subject:
    """One process and its children, in a session of their own so that a signal to the terminal misses them."""

    def __init__(self, name: str, launch: Launch, folder: Path) -> None:
        self.name = name
        self._launch = launch
        self._folder = folder
        self._log_path = folder / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def children(self) -> list[int]:
        return find_descendants(self.pid)

    @property
    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    def start(self) -> None:
        with self._log_path.open("w") as log:
            self._process = subprocess.Popen(
                self._launch.command,
                env=self._launch.environment,
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=log if self._logs_to_stdout else subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    @property
    def _logs_to_stdout(self) -> bool:
        return True

    def await_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not self._is_ready():
            if self._running.poll() is not None:
                raise StartError(f"{self.name} ended at start:\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} was not ready after {START_LIMIT_S} s:\n{self._log_end()}")
            time.sleep(POLL_S)

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _log_end(self) -> str:
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])

    def pin(self, front_cores: Iterable[int], engine_cores: Iterable[int]) -> None:
        pin(self.pid, front_cores)
        for child in self.children:
            pin(child, engine_cores)

    def pause(self) -> None:
        """Take every CPU cycle from the process and its children until `resume`."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is None:
            return
        children = self.children
        self.resume()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT_S)
        deadline = time.monotonic() + STOP_LIMIT_S / 3
        while any(_is_running(child) for child in children) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self._signal_all(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _signal_all(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class HttpServer(Subject):
    """A server that is ready when its /health says 200."""

    def __init__(self, name: str, launch: Launch, folder: Path, port: int) -> None:
        super().__init__(name, launch, folder)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class BareEngine(Subject):
    """The bare engine's process, asked through its pipes."""

    @property
    def _logs_to_stdout(self) -> bool:
        return False

    def _is_ready(self) -> bool:
        return bool(self._read_answer(START_LIMIT_S).get("ready"))

    def time_answers(self, bodies: list[dict[str, Any]]) -> list[float]:
        """Return the milliseconds that each body took, run one after the other."""
        stdin = self._running.stdin
        assert stdin is not None
        stdin.write(json.dumps({"bodies": bodies}) + "\n")
        stdin.flush()
        latency_ms: list[float] = self._read_answer(ANSWER_LIMIT_S)["latency_ms"]
        return latency_ms

    def _read_answer(self, limit_s: float) -> dict[str, Any]:
        stdout = self._running.stdout
        assert stdout is not None
        guard = threading.Timer(limit_s, self._signal_all, [signal.SIGKILL])
        guard.start()
        try:
            line = stdout.readline()
        finally:
            guard.cancel()
        if not line:
            raise StartError(f"{self.name} ended:\n{self._log_end()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
