"""The process: uvicorn around the app, its signals, its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from kodify import auth, terminal, tls
from kodify.app import build_app
from kodify.connections import raise_open_files
from kodify.engine.base import Engine
from kodify.engines import Engines
from kodify.errors import STOPPING, KodifyError, UnavailableError
from kodify.http_protocol import protocols
from kodify.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.05
FLUSH_S = 2.0  # for the last bytes of answers that were cut
HEALTH_TELLS_S = 1.0  # between an engine's death and the end, for probes and clients to see it
MOST_SIGNALS = 2  # that are taken for more than an order to end as it is
FAILED = 1  # exit code
READ_AGAIN = (
    "log_level", "limit_requests_per_minute", "limit_concurrent_requests", "limit_tokens_per_day",
    "max_waiting_requests", "max_waiting_tokens",
)  # fmt: skip


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, drain_s: float) -> None:
        super().__init__(config)
        self.exit_code = 0
        self._state: Any = config.app.state  # type: ignore[union-attr]
        self._drain_s = drain_s
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second cuts what still runs, the third ends the process as it is."""
        self._signals += 1
        if self._signals > MOST_SIGNALS:
            os._exit(FAILED)
        self.should_exit = self._state.draining = True
        # uvicorn looks at the signal only after the start-up, which with WAIT_VLLM is the whole load.
        if not self.started and (loading := getattr(self._state, "loading", None)) is not None:
            loading.cancel()

    def engine_failed(self, error: KodifyError) -> None:
        """Ends the process, for its supervisor to start it again."""
        log.error("Kodify ends, for it can't serve: %s", error.message)
        self.exit_code = FAILED

        def end() -> None:
            self._drain_s = 0
            self.should_exit = self._state.draining = True

        asyncio.get_running_loop().call_later(HEALTH_TELLS_S, end)

    async def startup(self, sockets: Any = None) -> None:
        with tls.handshakes_within(self._state.connections.header_timeout_s):
            await super().startup(sockets)

    async def shutdown(self, sockets: Any = None) -> None:
        """Until what runs has ended the port stays open: new requests and probes are told that this replica goes."""
        self._state.chats.drain()
        await self._until_idle(self._drain_s, lambda: self._signals > 1)
        for answer in list(self._state.running):
            answer.cut(UnavailableError(STOPPING))
        await self._until_idle(FLUSH_S)
        await super().shutdown(sockets)

    async def _until_idle(self, seconds: float, hurries: Callable[[], bool] = lambda: False) -> None:
        deadline = time.monotonic() + seconds
        busy = self.server_state.tasks, self._state.running  # answers of chats go on without a connection
        while any(busy) and not hurries() and time.monotonic() < deadline:  # noqa: ASYNC110 - as uvicorn
            await asyncio.sleep(LOOK_EVERY_S)

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


async def serve(settings: Settings, engines: Engine | Engines, reread: Callable[[], Settings] = Settings.load) -> int:
    """Runs until told to stop, or until an engine fails. Returns the process's exit code. `reread` reads the settings
    again, for a SIGHUP."""
    loop = asyncio.get_running_loop()
    settled: asyncio.Future[Exception | None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if not settled.done():
            settled.set_result(error)

    started = time.monotonic()
    progress = terminal.Progress(f"loading {settings.served_names[0]}")
    raise_open_files(settings.max_connections)
    server: Server
    app = build_app(
        settings,
        engines,
        settle,
        lambda label: progress.now(f"loading {label}") if label else None,
        lambda error: server.engine_failed(error),
    )
    server = Server(_uvicorn_config(app, settings), settings.drain_timeout)
    loop.add_signal_handler(signal.SIGHUP, _reload, app, reread)
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
    return code if error is None else FAILED


def _reload(app: Any, reread: Callable[[], Settings]) -> None:
    """LOG_LEVEL and the limits, as `.env` and the environment have them now; the certificate, as its files do."""
    if app.state.certificate is not None:
        app.state.certificate.reload()
    try:
        settings = reread()
    except KodifyError as error:
        return log.error("The settings stay as they are: %s", error.message)
    fresh = {
        name: value for name in READ_AGAIN if (value := getattr(settings, name)) != getattr(app.state.settings, name)
    }
    app.state.settings = app.state.settings.model_copy(update=fresh)
    logging.getLogger().setLevel(settings.log_level.upper())
    auth.set_limits(app.state.auth, settings)
    app.state.engines.bound(settings.max_waiting_requests, settings.max_waiting_tokens)
    log.warning("LOG_LEVEL and the limits were read again.")


async def _exit_code(server: Server) -> int:
    """uvicorn's way to say that it could not bind is SystemExit, which would tear the event loop down."""
    try:
        await server.serve()
    except SystemExit as end:
        return 0 if server.should_exit else int(end.code or 0)
    return server.exit_code


def end_children(patience_s: float = 5) -> None:
    """Ends what a start that was broken off has left: an engine's process that nobody will shut down."""
    for child in multiprocessing.active_children():
        child.terminate()
        child.join(patience_s)
        if child.is_alive():
            child.kill()


def _uvicorn_config(app: Any, settings: Settings) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").addFilter(_not_a_failed_load)
    certificate = app.state.certificate = tls.build(settings)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        **protocols(settings.max_body_bytes),
        server_header=False,
        timeout_graceful_shutdown=int(FLUSH_S),
        ssl_context_factory=None if certificate is None else lambda config, default: certificate.context,
        callback_notify=None if certificate is None else certificate.look,
        timeout_notify=tls.LOOK_EVERY_S,
        lifespan="on",
    )


def _not_a_failed_load(record: logging.LogRecord) -> bool:
    """A load that fails has been told in one sentence; uvicorn would add a trace of it."""
    return "The engine did not start." not in record.getMessage()
