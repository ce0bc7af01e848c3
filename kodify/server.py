"""The process: uvicorn around the app, its signals, its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import uvicorn

from kodify import terminal
from kodify.app import build_app
from kodify.engine.base import Engine
from kodify.engines import Engines
from kodify.http_protocol import Protocol
from kodify.settings import Settings

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """uvicorn looks at the signal only after the start-up, which with WAIT_VLLM is the whole load."""
        super().handle_exit(sig, frame)
        if not self.started and (loading := getattr(self.config.app.state, "loading", None)) is not None:  # type: ignore[union-attr]
            loading.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signal again after serving: the process would die before the engine is
        shut down, and the engine's process, with its memory, would be left behind."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


async def serve(settings: Settings, engines: Engine | Engines) -> int:
    """Runs until told to stop, or until the engine fails to start. Returns the process's exit code."""
    settled: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def settle(error: Exception | None) -> None:
        if not settled.done():
            settled.set_result(error)

    started = time.monotonic()
    progress = terminal.Progress(f"loading {settings.served_names[0]}")
    app = build_app(settings, engines, settle, lambda label: progress.now(f"loading {label}") if label else None)
    server = Server(_uvicorn_config(app, settings))
    serving = asyncio.create_task(_exit_code(server))
    error: Exception | None = None
    with progress:
        waited: set[asyncio.Future[Any]] = {settled, serving}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if settled.done():
        error = settled.result()
        if error is None:
            terminal.say(terminal.started_block(settings, app.state.engines, app.state, time.monotonic() - started))
        else:
            terminal.refuse(error)
            server.should_exit = True
    code = await serving
    return code if error is None else 1


async def _exit_code(server: Server) -> int:
    """uvicorn's way to say that it could not bind is SystemExit, which would tear the event loop down."""
    try:
        await server.serve()
    except SystemExit as end:
        return 0 if server.should_exit else int(end.code or 0)
    return 0


def end_children(patience_s: float = 5) -> None:
    """Ends what a start that was broken off has left: an engine's process that nobody will shut down."""
    for child in multiprocessing.active_children():
        child.terminate()
        child.join(patience_s)
        if child.is_alive():
            child.kill()


def _uvicorn_config(app: object, settings: Settings) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").addFilter(_not_a_failed_load)
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        http=Protocol,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=settings.drain_s,
        lifespan="on",
    )


def _not_a_failed_load(record: logging.LogRecord) -> bool:
    """A load that fails has been told in one sentence; uvicorn would add a trace of it."""
    return "The engine did not start." not in record.getMessage()
