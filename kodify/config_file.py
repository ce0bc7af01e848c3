"""`config.yml`: its shape, and complaints that name the line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

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
    task: Literal["generate", "embed"] = "generate"
    gpu_share: float | None = Field(None, gt=0, le=1)  # of the GPU's memory; None: an equal part of what is left
    args: str = ""
    preprocessing: str | None = None
    adapters: dict[str, str] = {}  # LoRA adapters of this model: the name of each, and its folder
    required: bool = True  # false: Kodify starts without it where it can't be loaded

    @property
    def names(self) -> list[str]:
        return [self.name] if isinstance(self.name, str) else self.name


class TabbyEntry(_Entry):
    model_name: str | None = None


class CensorEntry(_Entry):
    """`url` is asked of each text; `patterns` are regular expressions, or a file with one a line."""

    url: Annotated[str, Field(pattern=r"^https?://[^/\s]")] | None = None
    token: SecretStr | None = None
    timeout_s: float = Field(5.0, gt=0)
    patterns: str | list[str] = []
    check: Literal["prompts", "answers", "both"] = "both"
    open_on_failure: bool = False  # true: what can't be checked passes

    @model_validator(mode="after")
    def _checks_something(self) -> Self:
        if self.url is None and not self.patterns:
            raise PydanticCustomError("censor", "needs url or patterns")
        return self


class UpstreamEntry(_Entry):
    """Another OpenAI-compatible server whose models are served here too. One that generates and embeds has an entry
    for each."""

    url: Annotated[str, Field(pattern=r"^https?://[^/\s]")]
    api_key: SecretStr | None = None
    models: list[str] = []  # of its models only these; none named: all
    task: Literal["generate", "embed"] = "generate"  # what these models are for
    idle_timeout_s: float = Field(300.0, gt=0)


class CollectionEntry(_Entry):
    """Who may search it: `users` by e-mail, and who is in one of `groups`; with neither, everyone."""

    title: str = ""
    users: list[str] = []
    groups: list[str] = []


class CourseEntry(_Entry):
    """What `/process_message` answers a `course` from."""

    collections: Annotated[list[str], Field(min_length=1)]
    system_prompt: str | None = None  # None: retrieval's


class RetrievalEntry(_Entry):
    """Search in collections of documents and code."""

    model: str | None = None  # that embeds; None: the first one
    query_prefix: str = ""  # for models that tell questions from passages by it
    passage_prefix: str = ""
    k: int = Field(3, ge=1, le=50)  # passages of an answer
    threshold: float = Field(0.0, ge=0, lt=1)  # what is not above it is left out: (1 + cosine) / 2
    max_tokens: int = Field(2000, ge=100)  # of a prompt, for passages
    links: dict[str, str] = {}  # by repositories' host: github, gitlab, gitea, or an address with {path} and the like
    snippets: bool = True  # for editors' completions, from the collection of the repository that they name
    groups: dict[str, list[str]] = {}  # the e-mails of each
    collections: dict[str, CollectionEntry] = {}
    unlisted: Literal["administrators", "everyone"] = "administrators"  # who may search other collections
    courses: dict[str, CourseEntry] = {}
    system_prompt: str = ""
    history_messages: int = Field(20, ge=0, le=1000)  # of `/process_message`, given to the model
    history_hours: float = Field(24.0, gt=0)  # after the last message

    @field_validator("links")
    @classmethod
    def _links_lead_somewhere(cls, value: dict[str, str]) -> dict[str, str]:
        for host, given in value.items():
            if given not in ("github", "gitlab", "gitea") and not re.match(r"https?://[^/\s{}]+/.*\{path\}", given):
                told = "links: {host} is github, gitlab, gitea, or an http(s) address with a place for the path"
                raise PydanticCustomError("retrieval", told, {"host": host})
        return {host.lower(): given for host, given in value.items()}

    @model_validator(mode="after")
    def _groups_are_known(self) -> Self:
        for name, entry in self.collections.items():
            for group in entry.groups:
                if group not in self.groups:
                    raise PydanticCustomError("retrieval", f"collection {name} names the group {group}, which is none")
        return self


class ConfigFile(_Entry):
    models: list[ModelEntry] = Field(default_factory=list)
    tabby: TabbyEntry = TabbyEntry()
    censor: CensorEntry | None = None
    upstreams: list[UpstreamEntry] = []
    retrieval: RetrievalEntry = RetrievalEntry()

    @field_validator("upstreams", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        """The guides have a mapping of addresses; a list of addresses, or of mappings with a url, will do too."""
        if value is None:
            return []
        if isinstance(value, dict):
            return [{"url": url, **(options or {})} for url, options in value.items()]
        if isinstance(value, list):
            return [{"url": one} if isinstance(one, str) else one for one in value]
        return value

    def shown(self) -> dict[str, Any]:
        """What has an effect, without secrets."""
        shown = self.model_dump(mode="json")
        for upstream in shown["upstreams"]:
            upstream["url"] = hide_secrets(upstream["url"])
        for model in shown["models"]:
            model["args"] = hide_secrets(model["args"])
        if shown["censor"] and shown["censor"]["url"]:
            shown["censor"]["url"] = hide_secrets(shown["censor"]["url"])
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
