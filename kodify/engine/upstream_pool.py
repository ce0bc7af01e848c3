"""The other servers: which of them serve what, which are left out for now, and which one has the least to do."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from kodify.engine.base import EngineFacts
from kodify.engine.upstream_metrics import UpstreamSeries
from kodify.errors import NotFoundError, UnavailableError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
PROBE_TIMEOUT_S = 5.0
PROBE_EVERY_S = 10.0
START_PAUSE_S = 1.0
LEAST_PAUSE_S, MOST_PAUSE_S = 0.5, 30.0
# Shorter than the 5 s after which uvicorn closes an idle connection.
KEEPALIVE_S = 4.0
CONTEXT_TOKENS = 8192  # where no upstream tells
_NO_HEALTH = (401, 403, 404, 405)  # a server without this route, or that shows it to others


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """`url`: the server's base, with or without `/v1`. `models`: those that are asked of it; none named means all.
    `idle_timeout_s`: the longest silence within an answer, its start included."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    idle_timeout_s: float = 300.0


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None
    meta: dict[str, Any] | None = None  # llama.cpp's


class _Models(msgspec.Struct):
    data: list[_Model]


class Upstream:
    """One server. `label` is its address without secrets."""

    def __init__(self, options: UpstreamOptions) -> None:
        parts = urlsplit(options.url.rstrip("/").removesuffix("/v1"))
        self.label = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        self.options = options
        self.headers = {"authorization": f"Bearer {options.api_key}"} if options.api_key else {}
        self.timeout = httpx.Timeout(options.idle_timeout_s, connect=CONNECT_TIMEOUT_S, pool=None)
        self.base = urlunsplit(parts)
        self.models: dict[str, int | None] = {}  # with its context, where it tells
        self.up = False
        self.running = 0
        self.taken = 0  # when it was last chosen, in choices
        self.requests = 0
        self.failures = 0
        self._pause_s = 0.0
        self._news = asyncio.Event()

    def fail(self) -> None:
        """It is left out, each time for longer, until a probe finds it well. Requests that fail together count once."""
        self.failures += 1
        if self.up:
            self._leave_out()
            log.warning("the upstream %s is left out for %g s", self.label, self._pause_s)
            self._news.set()

    def succeed(self) -> None:
        self._pause_s = 0.0

    async def watch(self, client: httpx.AsyncClient) -> None:
        while True:
            self._news.clear()
            if self.up:
                await _within(PROBE_EVERY_S, self._news)
                if not self.up:
                    continue
            else:
                await asyncio.sleep(self._pause_s)
            await self.probe(client)

    async def probe(self, client: httpx.AsyncClient) -> None:
        try:
            health = await self._get(client, "/health")
            if health.status_code >= 400 and health.status_code not in _NO_HEALTH:
                return self._is_not_well(f"its health is {health.status_code}")
            answer = await self._get(client, "/v1/models")
            if answer.status_code != 200:
                hint = ": set its api_key in config.yml" if answer.status_code in (401, 403) else ""
                return self._is_not_well(f"/v1/models answers {answer.status_code}{hint}")
            models = msgspec.json.decode(answer.content, type=_Models).data
        except httpx.ReadTimeout:
            # A server may be too busy for a moment to tell how it is: its requests will say.
            if not (self.up and self.running):
                self._is_not_well("it does not answer")
            return
        except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError, UnicodeDecodeError) as error:
            return self._is_not_well(f"{type(error).__name__} {error}")
        wanted = self.options.models
        self.models = {model.id: _context(model) for model in models if not wanted or model.id in wanted}
        if not self.up:
            self.up = True
            log.info("the upstream %s serves %s", self.label, ", ".join(self.models) or "no model")

    async def _get(self, client: httpx.AsyncClient, path: str) -> httpx.Response:
        timeout = httpx.Timeout(PROBE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        return await client.get(self.base + path, headers=self.headers, timeout=timeout)

    def _is_not_well(self, reason: str) -> None:
        if self.up or not self._pause_s:  # once, not for each probe
            log.warning("the upstream %s is left out: %s", self.label, reason)
        self._leave_out()

    def _leave_out(self) -> None:
        self.up = False
        self._pause_s = min(MOST_PAUSE_S, self._pause_s * 2 or LEAST_PAUSE_S)


class Pool:
    """All of an engine's. `task`: what their models are for."""

    def __init__(
        self,
        options: Sequence[UpstreamOptions],
        *,
        task: Literal["generate", "embed"] = "generate",
        patience_s: float | None = None,
    ) -> None:
        """`start` waits for the first upstream: for ever, or `patience_s`."""
        self.all = [Upstream(one) for one in options]
        self._task = task
        self._patience_s = patience_s
        self._started_at = int(time.time())
        self._choices = 0
        self._series = UpstreamSeries(self.all, task)
        self._client: httpx.AsyncClient | None = None
        self._watches: list[asyncio.Task[None]] = []
        self.lingering: set[asyncio.Task[None]] = set()  # they wait for the ends of answers that were told

    @property
    def client(self) -> httpx.AsyncClient:
        assert self._client is not None
        return self._client

    async def start(self) -> None:
        """Raises UnavailableError where no upstream serves a model in time."""
        client = self._client = self._make_client()
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    await asyncio.gather(*(one.probe(client) for one in self.all))
                    if self._serves():
                        break
                    await asyncio.sleep(START_PAUSE_S)
        except TimeoutError:
            labels = ", ".join(one.label for one in self.all)
            raise UnavailableError(f"None of the upstreams serves a model: {labels}.") from None
        self._watches = [asyncio.create_task(one.watch(client)) for one in self.all]

    async def stop(self) -> None:
        """Safe before and after a start that failed."""
        tasks = [*self._watches, *self.lingering]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def check_health(self) -> None:
        if not self._serves():
            raise UnavailableError("None of the servers behind this one answers.")

    def running(self) -> int:
        """Requests that are answered there."""
        return sum(one.running for one in self.all)

    def facts(self) -> EngineFacts:
        """The context is the smallest that was told."""
        told = [context for upstream in self.all for context in upstream.models.values() if context]
        details = {one.label: "up" if one.up else "left out" for one in self.all}
        context = min(told, default=CONTEXT_TOKENS)
        return EngineFacts(self.names(), "", "upstream", context, 0, self._started_at, details)

    def names(self) -> tuple[str, ...]:
        """Of all models, the first upstream's first; those of one that is down too: they are coming back."""
        return tuple(dict.fromkeys(name for upstream in self.all for name in upstream.models))

    def name(self, asked: str) -> str:
        """An empty one means the first."""
        names = self.names()
        if asked in names:
            return asked
        if asked or not names:
            raise NotFoundError(f'The model "{asked[:200]}" does not exist.', param="model")
        return names[0]

    def choose(self, model: str, without: Collection[Upstream] = ()) -> Upstream | None:
        """The one with the least to do; among equals the one that waited longest."""
        fitting = [one for one in self.all if one.up and model in one.models and one not in without]
        if not fitting:
            return None
        chosen = min(fitting, key=lambda one: (one.running, one.taken))
        self._choices += 1
        chosen.taken = self._choices
        return chosen

    def metrics(self) -> bytes:
        return self._series.text()

    def _serves(self) -> bool:
        return any(one.up and one.models for one in self.all)

    def _make_client(self) -> httpx.AsyncClient:
        """Proxies of the environment are for what is outside."""
        secure = any(one.base.startswith("https:") for one in self.all)
        return httpx.AsyncClient(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_S),
            verify=ssl.create_default_context() if secure else False,
            trust_env=False,
        )


def _context(model: _Model) -> int | None:
    if model.max_model_len:
        return model.max_model_len
    found = (model.meta or {}).get("n_ctx")
    return found if isinstance(found, int) else None


async def _within(seconds: float, event: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
