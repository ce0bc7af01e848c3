"""Owns one Kodify over an engine of the benchmark's, for the benchmarks that compare it with itself."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.pace import Pace
from bench.plan import EngineKind
from bench.rows import KODIFY_COMMAND, REPOSITORY, Launch, Setup, base_environment, kodify_environment
from bench.servers import HttpServer


@contextmanager
def lone_kodify(
    name: str,
    port: int,
    engine: EngineKind = EngineKind.DOUBLE,
    *,
    step_ms: float = 0.0,
    prefill_us_per_token: float = 0.0,
    **variables: str,
) -> Iterator[HttpServer]:
    """Ready, and stopped at the end. The pace is the double's; `variables` are settings beside the benchmark's own."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        setup = Setup(engine, REPOSITORY / "kodify" / "nano", "", folder / "pace")
        Pace(setup.pace_file).write(step_ms, prefill_us_per_token)
        environment = base_environment(setup) | kodify_environment(setup, port) | variables
        server = HttpServer(name, Launch([str(KODIFY_COMMAND), "serve"], environment), folder, port)
        try:
            server.start()
            server.await_ready()
            yield server
        finally:
            server.stop()
