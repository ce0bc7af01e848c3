"""What an administrator sees: the progress, the block when it serves, the sentence when it does not."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Container, Sequence
from types import TracebackType
from typing import Any, Self

from kodify import __version__
from kodify.engines import Engines, Served
from kodify.errors import KodifyError
from kodify.settings import Settings

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_INTERVAL_S = 10.0


def say(text: str) -> None:
    print(text, flush=True)


def refuse(error: Exception) -> None:
    """One sentence on standard error; the trace only where it is a bug."""
    if isinstance(error, KodifyError):
        print(f"kodify: {error.message}", file=sys.stderr, flush=True)
    else:
        logging.getLogger(__name__).error("Kodify did not start", exc_info=error)
        print(f"kodify: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> list[str]:
    """Lines whose columns stand under one another; those of `right` are figures."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


class Progress:
    """What is being waited for and for how long: one moving line on a terminal, a line now and then in a log.

    Drawn from a thread: while a model loads, the event loop can be held up for half a second.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def now(self, label: str) -> None:
        """Something else is being waited for."""
        self._label = label

    def _draw(self) -> None:
        live = sys.stderr.isatty()
        frame = 0
        if not live:
            print(f"kodify: {self._label} …", file=sys.stderr, flush=True)
        while not self._ended.wait(0.1 if live else _PLAIN_INTERVAL_S):
            seconds = int(time.monotonic() - self._started)
            if live:
                frame += 1
                sign = _FRAMES[frame % len(_FRAMES)]
                print(f"\r{sign} {self._label} … {seconds} s ", end="", file=sys.stderr, flush=True)
            else:
                print(f"kodify: {self._label} … {seconds} s", file=sys.stderr, flush=True)
        if live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def started_block(settings: Settings, engines: Engines, state: Any, seconds: float) -> str:
    generating = [served for served in engines.running if served.task == "generate"]
    first = (generating or list(engines.running))[0]
    scheme = "http" if settings.tls_cert is None else "https"
    address = f"{scheme}://{_reachable(settings.host)}:{settings.port}"
    name = "VLLM_API_KEY" if settings.vllm_api_key is not None else "TOKEN" if settings.mtsai_auth else None
    token = f' -H "Authorization: Bearer ${name}"' if name is not None else ""
    curl = (
        f"curl {address}/v1/completions{token} -H 'Content-Type: application/json' "
        f"""-d '{{"model": "{first.facts.names[0]}", "prompt": "def main():", "max_tokens": 32}}'"""
    )
    rows = [row for served in engines.running for row in _about(served)]
    rows += [("left out", f"{served.label}: {served.error}") for served in engines.all if served.error is not None]
    rows += [
        ("auth", state.auth.label),
        ("journal", state.journal.label if state.journal is not None else "off"),
        ("chats", state.chats.label),
        ("address", address),
    ]
    lines = [f"Kodify {__version__} is ready, after {seconds:.1f} s", *(f"  {k:<9} {v}" for k, v in rows)]
    return "\n".join([*lines, "Try:", f"  {curl}"])


def _about(served: Served) -> list[tuple[str, str]]:
    facts = served.facts
    if served.parent is not None:
        return [("adapter", f"{facts.names[0]}  ({facts.path})")]
    rows = [
        ("model", f"{', '.join(facts.names)}  ({facts.path})"),
        ("device", ", ".join(filter(None, (facts.device, facts.details.get("dtype"), facts.details.get("parallel"))))),
    ]
    if served.task == "embed":
        return [*rows, ("embeds", f"up to {facts.context_tokens:,} tokens")]
    kv_cache = f"{facts.kv_cache_tokens:,} tokens, context {facts.context_tokens:,}"
    return [*rows, ("KV cache", kv_cache), ("FIM", served.preset.label)]


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
