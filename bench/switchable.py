"""Owns `kodify serve` with a switch: SIGUSR1 takes the journal away and gives it back, in one running process.

Two processes of the same program differ by some percent in what a token costs them; one process does not.
"""

import asyncio
import os
import signal
from typing import Any

from starlette.applications import Starlette

from kodify import app as kodify_app
from kodify import logs, server
from kodify.cli import _run
from kodify.engine.vllm import VllmEngine
from kodify.settings import Settings


async def serve(settings: Settings) -> int:
    apps: list[Starlette] = []

    def build_app(*arguments: Any) -> Starlette:
        apps.append(kodify_app.build_app(*arguments))
        return apps[0]

    setattr(server, "build_app", build_app)  # noqa: B010
    kept: list[Any] = []

    def switch() -> None:
        state = apps[0].state
        if kept:
            state.journal = kept.pop()
        else:
            kept.append(state.journal)
            state.journal = None

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, switch)
    return await server.serve(settings, VllmEngine(settings))


if __name__ == "__main__":
    found = Settings.load()
    logs.configure(found)
    code = _run(serve(found))
    server.end_children()
    os._exit(code)
