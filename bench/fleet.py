"""Owns the set of rows that run at once on one engine: started in turn, all but the one under load paused."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import find_descendants, pin
from bench.plan import EngineKind
from bench.rows import Row, Setup, build_launch, find_database, find_obstacle
from bench.servers import BareEngine, HttpServer, StartError, Subject, find_free_port

SETTLE_S = 1.5  # what the journal still had to write is written


@dataclass(frozen=True)
class Placement:
    """Which cores the front end, a gateway, the engine and the load client keep to."""

    front_end: list[int]
    gateway: list[int]
    engine: list[int]
    client: list[int]


def place(engine: EngineKind) -> Placement:
    """Give the front end a core of its own before the double; before a real engine pin nothing."""
    cores = sorted(os.sched_getaffinity(0))
    if engine is EngineKind.NANO or len(cores) == 1:
        return Placement(cores, cores, cores, cores)
    if len(cores) < 4:
        return Placement(cores[:1], cores[:1], cores[1:], cores[1:])
    return Placement(cores[:1], cores[1:2], cores[2:3], cores[3:])


class Fleet:
    """The running rows of one engine."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self._setup = setup
        self._folder = folder
        self.placement = place(setup.engine)
        self.subjects: dict[Row, Subject] = {}
        self.skipped: dict[Row, str] = {}

    @contextmanager
    def running(self, rows: list[Row]) -> Iterator["Fleet"]:
        """Start the rows; end every one of them, whatever happens."""
        stack = ExitStack()
        try:
            for row in rows:
                obstacle = find_obstacle(row) or self._start(row, stack)
                if obstacle:
                    self.skipped[row] = obstacle
                    print(f"row {row} is left out: {obstacle}", flush=True)
            yield self
        finally:
            with _uninterrupted():
                stack.close()

    def _start(self, row: Row, stack: ExitStack) -> str | None:
        """Start one row, await and pause it; return why that failed, or None."""
        print(f"starting row {row} …", flush=True)
        upstream = self.subjects.get(Row.VLLM)
        if row is Row.GATEWAY and upstream is None:
            return "its upstream, row a, does not run"
        if row is Row.JOURNAL_OFF:
            if Row.JOURNAL not in self.subjects:
                return "row j does not run"
            self.subjects[row] = self.subjects[Row.JOURNAL]
            return None
        subject = self._build(row, upstream)
        stack.callback(subject.stop)
        subject.start()
        try:
            subject.await_ready()
        except StartError as error:
            return str(error)
        if self._setup.engine is EngineKind.DOUBLE:  # a real engine's threads go where its own settings put them
            front_cores = self.placement.gateway if row is Row.GATEWAY else self.placement.front_end
            subject.pin(front_cores, self.placement.engine)
            if (database := find_database(self._folder)) is not None:
                for process in (database, *find_descendants(database)):
                    pin(process, self.placement.engine)
        subject.pause()
        self.subjects[row] = subject
        return None

    def _build(self, row: Row, upstream: Subject | None) -> Subject:
        port = find_free_port()
        upstream_port = upstream.port if isinstance(upstream, HttpServer) else 0
        name = f"{self._setup.engine}-{row}"
        launch = build_launch(row, self._setup, port, upstream_port)
        if row is Row.BARE:
            return BareEngine(name, launch, self._folder)
        return HttpServer(name, launch, self._folder, port)

    def list_parts(self, row: Row) -> list[Subject]:
        """Return the subjects that serve a row: a gateway counts with the server behind it."""
        own = self.subjects[row]
        return [own, self.subjects[Row.VLLM]] if row is Row.GATEWAY else [own]

    @contextmanager
    def awake(self, row: Row) -> Iterator[Subject]:
        """Let one row run, and pause it again."""
        parts = self.list_parts(row)
        for part in parts:
            part.resume()
        switched = row is Row.JOURNAL_OFF
        if switched:
            os.kill(self.subjects[row].pid, signal.SIGUSR1)
            time.sleep(SETTLE_S)
        try:
            yield self.subjects[row]
        finally:
            if switched:
                os.kill(self.subjects[row].pid, signal.SIGUSR1)
            for part in parts:
                part.pause()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no second Ctrl-C cut the ending of the servers short."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
