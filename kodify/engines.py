"""The engines of one Kodify: which model each serves, how they start, what they tell together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from kodify.engine.base import EmbeddingEngine, Engine, EngineFacts
from kodify.errors import KodifyError, UnavailableError
from kodify.preprocess.presets import Choice, Preset, choose_preset

log = logging.getLogger(__name__)

Task = Literal["generate", "embed"]


@dataclass(eq=False)
class Served:
    """One engine. `label` is its model's name before it has started; one that is not `required` may be left out."""

    engine: Engine | EmbeddingEngine
    label: str = ""
    task: Task = "generate"
    preset_path: str | None = None
    required: bool = True
    preset: Choice = field(default_factory=lambda: Choice(None))
    runs: bool = True  # or will when it has started
    error: str | None = None  # why it was left out

    @property
    def facts(self) -> EngineFacts:
        return self.engine.facts


class Engines:
    """All of an app's. The first of a task is the default of that task."""

    def __init__(self, served: Sequence[Served], completion_model: str | None = None) -> None:
        """`completion_model`: the name of the model that editors' completions go to, where they name none."""
        self.all = tuple(served)
        self._completion_model = completion_model

    async def start(self, told: Callable[[str], None] = lambda label: None) -> None:
        """One after the other, for each measures the memory that is free. `told` hears which one is loading.

        Raises what the first required one raises; one that is not required is left out.
        """
        for served in self.all:
            told(served.label)
            try:
                await served.engine.start()
                if served.task == "generate":
                    engine = cast(Engine, served.engine)
                    served.preset = choose_preset(served.preset_path, engine.vocabulary, engine.facts.path)
            except KodifyError as error:
                if served.required:
                    raise
                served.runs, served.error = False, error.message
                log.error("the model %s is left out: %s", served.label, error.message)
                await served.engine.stop()

    async def stop(self) -> None:
        for served in reversed(self.all):
            await served.engine.stop()

    @property
    def running(self) -> Iterator[Served]:
        return (served for served in self.all if served.runs)

    @property
    def names(self) -> list[str]:
        return [name for served in self.running for name in served.facts.names]

    def find(self, name: str, task: Task) -> Served | None:
        return next((one for one in self.running if one.task == task and name in one.facts.names), None)

    def default(self, task: Task) -> Served:
        """Raises UnavailableError where no engine of the task runs."""
        for served in self.running:
            if served.task == task:
                return served
        raise UnavailableError("No model of this kind is served here.")

    def for_completions(self) -> Served:
        found = self.find(self._completion_model, "generate") if self._completion_model is not None else None
        return found or self.default("generate")

    def preset_of(self, engine: Engine) -> Preset | None:
        return next((served.preset.preset for served in self.all if served.engine is engine), None)

    async def check_health(self) -> None:
        """Raises UnavailableError where one of them can't work."""
        for served in self.running:
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
