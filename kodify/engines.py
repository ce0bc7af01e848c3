"""The engines of one Kodify: which model each serves, how they start, what they tell together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, cast, runtime_checkable

from kodify.engine.base import AdapterHost, EmbeddingEngine, Engine, EngineFacts
from kodify.errors import ConflictError, KodifyError, NotFoundError, UnavailableError
from kodify.line import Line, line_for
from kodify.preprocess.presets import Choice, Preset, choose_preset

log = logging.getLogger(__name__)

Task = Literal["generate", "embed"]


@runtime_checkable
class Stepping(Protocol):
    """An engine that tells of its steps."""

    on_step: Callable[[], None]


@runtime_checkable
class ManyEmbedders(Protocol):
    """An engine of several embedding models: who embeds names none."""

    def of(self, model: str) -> EmbeddingEngine: ...


@dataclass(eq=False)
class Served:
    """One engine. `label` is its model's name before it has started; one that is not `required` may be left out."""

    engine: Engine | EmbeddingEngine
    label: str = ""
    task: Task = "generate"
    preset_path: str | None = None
    required: bool = True
    adapters: Mapping[str, str] = field(default_factory=dict)  # loaded after it: the name of each, and its folder
    parent: Served | None = None  # of an adapter: what serves its model
    preset: Choice = field(default_factory=lambda: Choice(None))
    line: Line = field(default_factory=Line)  # where its jobs wait
    is_here: bool = True  # in this process: it may be started again
    runs: bool = True  # or will when it has started
    error: str | None = None  # why it was left out

    _last: EngineFacts | None = None

    @property
    def facts(self) -> EngineFacts:
        """Of an engine that is being started again, the last that was known."""
        try:
            self._last = self.engine.facts
        except UnavailableError:
            if self._last is None:
                raise
        return self._last

    @property
    def name(self) -> str:
        """Also while it does not run."""
        return self.label or self.facts.names[0]


class Engines:
    """All of an app's. The first of a task is the default of that task."""

    def __init__(
        self,
        served: Sequence[Served],
        completion_model: str | None = None,
        *,
        most_waiting: int | None = None,
        most_waiting_tokens: int | None = None,
    ) -> None:
        """`completion_model`: the name of the model that editors' completions go to, where they name none. The bounds
        are of what waits for one engine; None for those that follow from the engine."""
        self.all = list(served)
        self._completion_model = completion_model
        self._adapting = asyncio.Lock()
        self._bounds = most_waiting, most_waiting_tokens

    async def start(self, told: Callable[[str], None] = lambda label: None) -> None:
        """One after the other, for each measures the memory that is free. `told` hears which one is loading.

        Raises what the first required one raises; one that is not required is left out.
        """
        for served in list(self.all):
            told(served.label)
            try:
                await served.engine.start()
                if served.task == "generate":
                    engine = cast(Engine, served.engine)
                    served.preset = choose_preset(served.preset_path, engine.vocabulary, engine.facts.path)
                    served.line = line_for(engine.facts.most_running, engine.facts.kv_cache_tokens, *self._bounds)
                    if isinstance(engine, Stepping):
                        engine.on_step = served.line.step
                for name, path in served.adapters.items():
                    told(name)
                    await self.load_adapter(name, path, served.facts.names[0])
            except KodifyError as error:
                if served.required:
                    raise
                served.runs, served.error = False, error.message
                self.all = [one for one in self.all if one.parent is not served]
                log.error("the model %s is left out: %s", served.label, error.message)
                await served.engine.stop()

    async def stop(self) -> None:
        """All at once. An adapter goes with its model's engine: its own `stop` would wait for its jobs."""
        own = [served for served in self.all if served.parent is None]
        for served, error in zip(
            own, await asyncio.gather(*(one.engine.stop() for one in own), return_exceptions=True), strict=True
        ):
            if isinstance(error, Exception):
                log.error("the engine of %s did not end well", served.label, exc_info=error)

    async def load_adapter(self, name: str, path: str, model: str | None = None) -> Served:
        """`model`: whose adapter it is; None for the first that takes any.

        Raises ConflictError where the name is taken, NotFoundError where there is no such model, BadRequestError
        where there is no adapter at `path` that fits it.
        """
        async with self._adapting:
            if name in self.names:
                raise ConflictError(f"The model {name} is served already: unload it first, or take another name.")
            base = self._base_of_adapters(model)
            adapter = await cast(AdapterHost, base.engine).load_adapter(name, path)
            served = Served(adapter, name, preset=base.preset, parent=base, line=base.line)
            self.all.append(served)
            return served

    async def unload_adapter(self, name: str) -> None:
        """Gone for new requests at once; returns when the last of its requests has ended. Raises NotFoundError."""
        async with self._adapting:
            served = self.find(name, "generate")
            if served is None or served.parent is None:
                raise NotFoundError(f"There is no adapter {name} here.", param="lora_name")
            self.all.remove(served)
        await served.engine.stop()

    def _base_of_adapters(self, model: str | None) -> Served:
        for served in self.running:
            is_meant = served.parent is None and (model is None or model in served.facts.names)
            if is_meant and isinstance(served.engine, AdapterHost):
                return served
        if model is None:
            raise NotFoundError("No model that takes adapters is served here.", param="model")
        raise NotFoundError(f"There is no model {model} here that takes adapters.", param="model")

    @property
    def running(self) -> Iterator[Served]:
        return (served for served in self.all if served.runs)

    @property
    def here(self) -> list[Served]:
        """Those that run with an engine of their own in this process."""
        return [served for served in self.running if served.is_here and served.parent is None]

    async def restart(self, served: Served) -> None:
        """After it has died: the engine, then its adapters, of which one that can't be loaded any more is dropped. One
        engine after the other. Raises what the engine's start raises."""
        async with self._adapting:
            await served.engine.stop()
            await served.engine.start()
            for one in [adapter for adapter in self.all if adapter.parent is served]:
                try:
                    await one.engine.start()
                except KodifyError as error:
                    log.error("the adapter %s is dropped: %s", one.name, error.message)
                    self.all.remove(one)

    def bound(self, most_waiting: int | None, most_waiting_tokens: int | None) -> None:
        """New bounds of what waits."""
        self._bounds = most_waiting, most_waiting_tokens
        for served in self.here:
            try:
                facts = served.facts
            except UnavailableError:  # it is still being loaded, and will have them
                continue
            fresh = line_for(facts.most_running, facts.kv_cache_tokens, *self._bounds)
            served.line.most_waiting, served.line.most_tokens = fresh.most_waiting, fresh.most_tokens

    @property
    def names(self) -> list[str]:
        return [name for served in self.running for name in served.facts.names]

    def find(self, name: str, task: Task) -> Served | None:
        found = next((one for one in self.running if one.task == task and name in one.facts.names), None)
        if found is not None and isinstance(found.engine, ManyEmbedders):
            return replace(found, engine=found.engine.of(name))
        return found

    def default(self, task: Task) -> Served:
        """Raises NotFoundError where no model of the task is configured, UnavailableError where none of them runs."""
        for served in self.running:
            if served.task == task:
                return served
        if all(served.task != task for served in self.all):
            raise NotFoundError("No model of this kind is served here.", param="model")
        raise UnavailableError("No model of this kind is running.")

    def for_completions(self) -> Served:
        found = self.find(self._completion_model, "generate") if self._completion_model is not None else None
        return found or self.default("generate")

    def preset_of(self, engine: Engine) -> Preset | None:
        return next((served.preset.preset for served in self.all if served.engine is engine), None)

    def line_of(self, engine: Engine) -> Line | None:
        return next((served.line for served in self.all if served.engine is engine), None)

    async def check_health(self) -> None:
        """Raises UnavailableError where one of them can't work."""
        for served in self.running:
            if served.parent is None:
                await served.engine.check_health()

    def metrics(self) -> bytes:
        return merge_metrics(served.engine.metrics() for served in self.running)


def merge_metrics(texts: Iterable[bytes]) -> bytes:
    """Series of several engines in Prometheus's text format: each family once, with everybody's samples."""
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    found = list(texts)
    if len(found) == 1:
        return found[0]
    for text in found:
        head: list[bytes] = []
        samples: list[bytes] = []
        for line in text.splitlines():
            if line.startswith(b"# "):
                name = line.split(b" ", 3)[2]
                if name not in families:
                    families[name] = ([], [])
                head, samples = families[name]
                if line not in head:
                    head.append(line)
            elif line:
                samples.append(line)
    return b"".join(b"\n".join([*head, *samples]) + b"\n" for head, samples in families.values())
