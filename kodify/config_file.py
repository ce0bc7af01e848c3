"""`config.yml`: its shape, and complaints that name the line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kodify.errors import ConfigError

_SECRET_NAME = r"[\w-]*(?:token|key|password|secret)[\w-]*"
_SECRETS = (
    (re.compile(rf"""(--{_SECRET_NAME}\s*[= ]\s*)(?:"[^"]*"|'[^']*'|\S+)"""), r"\1********"),
    (re.compile(rf"""("{_SECRET_NAME}"\s*:\s*)"(?:[^"\\]|\\.)*\""""), r'\1"********"'),
    (re.compile(rf"([?&]{_SECRET_NAME}=)[^&\s]+"), r"\1********"),
    (re.compile(r"(?<=://)([^/@\s:]*):\S*@"), r"\1:********@"),
)


def hide_secrets(text: str) -> str:
    """Tokens and passwords among arguments, in JSON and in addresses, masked."""
    for pattern, masked in _SECRETS:
        text = pattern.sub(masked, text)
    return text


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelEntry(_Entry):
    name: str | Annotated[list[str], Field(min_length=1)]
    path: str
    task: Literal["generate"] = "generate"
    args: str = ""
    preprocessing: str | None = None

    @property
    def names(self) -> list[str]:
        return [self.name] if isinstance(self.name, str) else self.name


class TabbyEntry(_Entry):
    model_name: str | None = None


class ConfigFile(_Entry):
    models: list[ModelEntry] = Field(default_factory=list, max_length=1)
    tabby: TabbyEntry = TabbyEntry()
    # Older installations list their engines' addresses here; with the engine in process nothing reads it.
    upstreams: Any = None

    def shown(self) -> dict[str, Any]:
        """What has an effect, without secrets."""
        shown = self.model_dump(mode="json", exclude={"upstreams"})
        for model in shown["models"]:
            model["args"] = hide_secrets(model["args"])
        return shown


def read_config_file(path: Path) -> ConfigFile:
    """Raises ConfigError with the file's name and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"CONFIG names {path}, which can't be read: {reason}.") from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}, line {line}: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}, line 1: it can't be read: {str(error).splitlines()[0]}.") from None
    if data is None:
        return ConfigFile()
    try:
        return ConfigFile.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{path}, line {_line_of(tree, first['loc'])}: {place}: {first['msg']}.") from None


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line (from 1) of the deepest part of `location` that the file has."""
    line = node.start_mark.line + 1 if node is not None else 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
