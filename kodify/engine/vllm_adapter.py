"""A LoRA adapter: the engine of its model under another name, with the adapter's weights added."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from vllm.lora.request import LoRARequest

from kodify.engine.base import (
    Dialect,
    DialectEngine,
    Engine,
    EngineFacts,
    Event,
    Job,
    Progress,
    Screener,
    Sink,
    Ticket,
    Vocabulary,
)
from kodify.errors import BadRequestError, UnavailableError

LOOK_EVERY_S = 0.1
MOST_SHOWN = 300  # characters of what vLLM complains of


class Adapters:
    """Those of one AsyncLLM. `by_name` is the table that vLLM's serving classes look them up in."""

    def __init__(self, engine: Any, by_name: dict[str, Any], ids: Iterator[int]) -> None:
        """`ids`: never given before, not by an engine that this one replaces either."""
        self._engine = engine
        self.by_name = by_name
        self._ids = ids
        self._loads: dict[str, Iterator[int]] = {}

    async def add(self, name: str, path: str) -> LoRARequest:
        """Raises BadRequestError where there is none at `path` that the model can take."""
        engine = self._engine
        if engine.vllm_config.lora_config is None:
            raise BadRequestError(
                "This model takes no adapters: start it with --enable-lora, or with adapters in config.yml."
            )
        found = await asyncio.to_thread(_find, path)
        # What the engine has cached of a prompt goes by the adapter's name and path: one that is loaded again may
        # have other weights.
        again = next(self._loads.setdefault(found, itertools.count()))
        lora = LoRARequest(lora_name=name, lora_int_id=next(self._ids), lora_path=found + "/." * again)
        try:
            await engine.add_lora(lora)
        except Exception as error:
            if engine.errored:
                raise UnavailableError("The engine has stopped.") from error
            raise BadRequestError(
                f"The adapter at {path} can't be loaded: {_first_line(error)}", param="lora_path"
            ) from error
        self.by_name[name] = lora
        return lora

    async def remove(self, lora: LoRARequest) -> None:
        """Takes no new requests at once; leaves the engine when the last has ended."""
        self.by_name.pop(lora.lora_name, None)
        while self._runs(lora) and not self._engine.errored:  # noqa: ASYNC110 - vLLM tells nobody
            await asyncio.sleep(LOOK_EVERY_S)
        if not self._engine.errored:
            await self._engine.remove_lora(lora.lora_int_id)

    def _runs(self, lora: LoRARequest) -> bool:
        states = self._engine.output_processor.request_states.values()
        running = (state.lora_request for state in states if state.lora_request is not None)
        return any(found.lora_int_id == lora.lora_int_id for found in running)


class Base(Engine, DialectEngine, Protocol):
    @property
    def adapters(self) -> Adapters: ...


class VllmAdapter:
    """`base` starts, stops and measures the engine that both share."""

    screens_dialects = True

    def __init__(self, base: Base, name: str, path: str) -> None:
        self._base = base
        self._name = name
        self._path = path
        self._lora: LoRARequest | None = None
        self._home: Adapters | None = None  # where it is loaded
        self._loaded_at = 0

    @property
    def facts(self) -> EngineFacts:
        facts = self._base.facts
        return replace(
            facts, names=(self._name,), path=self._path, parent=facts.names[0], started_at=self._loaded_at, details={}
        )

    @property
    def vocabulary(self) -> Vocabulary:
        return self._base.vocabulary

    async def start(self) -> None:
        home = self._base.adapters
        self._lora, self._home = await home.add(self._name, self._path), home
        self._loaded_at = int(time.time())

    async def stop(self) -> None:
        lora, self._lora = self._lora, None
        if lora is not None and self._home is not None:
            await self._home.remove(lora)

    def parse_chat(self, body: dict[str, Any]) -> Any:
        return self._base.parse_chat(body)

    def parse_completion(self, body: dict[str, Any]) -> Any:
        return self._base.parse_completion(body)

    async def chat_job(self, request: Any, job_id: str) -> Job:
        return self._own(await self._base.chat_job(request, job_id))

    async def completion_job(self, request: Any, job_id: str) -> Job:
        return self._own(await self._base.completion_job(request, job_id))

    async def submit(self, job: Job, sink: Sink) -> Ticket:
        if job.plan.lora is not self._live():  # it was unloaded, or loaded again, while the job waited
            raise UnavailableError(f"The adapter {self._name} is not loaded any more.")
        return await self._base.submit(job, sink)

    async def serve(
        self, dialect: Dialect, body: dict[str, Any], progress: Progress, screen: Screener | None = None
    ) -> dict[str, Any] | AsyncGenerator[Event, None]:
        return await self._base.serve(dialect, body, progress, screen)

    async def check_health(self) -> None:
        await self._base.check_health()

    def running(self) -> int:
        """The model's own engine counts its jobs."""
        return 0

    def metrics(self) -> bytes:
        return b""

    def _own(self, job: Job) -> Job:
        return replace(job, model=self._name, plan=replace(job.plan, lora=self._live()))

    def _live(self) -> LoRARequest:
        if self._lora is None or self._home is not self._base.adapters:
            raise UnavailableError(f"The adapter {self._name} is not loaded.")
        return self._lora


def _find(path: str) -> str:
    folder = Path(path).expanduser()
    if not (folder / "adapter_config.json").is_file():
        raise BadRequestError(f"{path} is no folder here that holds an adapter_config.json.", param="lora_path")
    return str(folder.resolve())


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n")[0][:MOST_SHOWN] or type(error).__name__
    return text if text.endswith(".") else text + "."
