"""What one streamed token costs, counted and not timed: fails when a token starts to cost more.

Each figure is a slope between a short and a long answer, so that what a request costs once drops out.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from kodify.app import build_app
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.settings import Settings

pytestmark = pytest.mark.alone

SHORT, LONG = 100, 1100
STREAMS = 8  # at once: what they share in a turn of the loop is counted for each of them once
PATHS = ["/v1/chat/completions", "/v1/completions"]


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts what is scheduled: each wake-up of a task is one."""

    scheduled = 0

    def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:  # type: ignore[override]
        self.scheduled += 1
        return super().call_soon(*args, **kwargs)


def measure(path: str, tokens: int, settings: Settings) -> Counter[str]:
    """Counts over streamed answers of `tokens` tokens each, on an app without a server around it."""
    counts: Counter[str] = Counter()
    body = {"model": "scripted", "messages": [{"role": "user", "content": "x"}], "prompt": "x", "stream": True}
    engine = ScriptedEngine(Script(pieces=("piece",) * tokens))

    def count_calls(frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            counts["calls"] += 1

    async def ask(app: Starlette) -> None:
        complete = asyncio.Event()
        requests = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

        async def receive() -> Message:
            if requests:
                return requests.pop()
            await complete.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            counts["sends"] += 1
            if message["type"] == "http.response.body" and not message["more_body"]:
                complete.set()

        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "app": app}
        await app(scope, receive, send)

    async def main() -> None:
        app = build_app(settings, engine)
        app.state.ready = True
        if app.state.journal is not None:
            app.state.journal.open()
        await ask(app)  # the caches are warm, then
        counts.clear()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        gc.collect()
        gc.disable()
        scheduled, blocks = loop.scheduled, sys.getallocatedblocks()
        sys.setprofile(count_calls)
        await asyncio.gather(*(ask(app) for _ in range(STREAMS)))
        sys.setprofile(None)
        counts["wakeups"] = loop.scheduled - scheduled
        counts["blocks"] = sys.getallocatedblocks() - blocks
        gc.enable()

    loop = CountingLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return counts


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def per_token(path: str, settings: Settings) -> Callable[[str], float]:
    return slopes(path, settings)


def slopes(path: str, settings: Settings) -> Callable[[str], float]:
    short, long = (measure(path, tokens, settings) for tokens in (SHORT, LONG))
    return lambda name: (long[name] - short[name]) / (LONG - SHORT) / STREAMS


def test_what_a_streamed_token_costs(per_token: Callable[[str], float]) -> None:
    assert per_token("sends") == 1
    # The scripted engine's own step is the one wake-up, and the end of a turn, which all streams share, a second:
    # nobody else's task is woken for a token.
    assert per_token("wakeups") == pytest.approx(1 + 1 / STREAMS, abs=0.01)
    # Python and C calls: some 23 are the event loop's and the scripted engine's, the rest is ours.
    assert per_token("calls") <= 34, per_token("calls")
    # Memory blocks that a token leaves behind while its answer runs: none.
    assert per_token("blocks") < 0.05


def test_what_the_journal_adds_to_a_token(path: str, settings: Settings, tmp_path: Path) -> None:
    on = settings.model_copy(update={"logs": True, "logs_db_host": "embedded", "data_path": str(tmp_path)})
    without, with_journal = slopes(path, settings), slopes(path, on)
    assert with_journal("calls") - without("calls") == pytest.approx(1, abs=0.05)  # it is appended to a list
    assert with_journal("wakeups") == pytest.approx(without("wakeups"), abs=0.01)
    assert len(list(tmp_path.rglob("*.spool"))) == 2  # it was on
