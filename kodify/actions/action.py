"""One action: its file's front matter, and its two templates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from kodify.actions.subject import Subject
from kodify.errors import ConfigError

Messages = list[dict[str, Any]]
LANGUAGES = ("en", "ru")
_FILE = re.compile(r"\A\ufeff?---\n(?P<head>.*?\n)---\n(?P<rest>.*)\Z", re.DOTALL)
_PARTS = re.compile(r"\A\s*# System\n(?P<system>.*?)^# User\n(?P<user>.*)\Z", re.DOTALL | re.MULTILINE)


class Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    title: dict[str, str]
    description: dict[str, str]
    # What is made of the answer. diff: new code for the whole target, and a diff; code: the one block of code in it.
    answers: Literal["diff", "code", "text"] = "text"
    order: int = 100  # among the buttons
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)  # of a diff more, where the code is long
    too_long: Literal["refuse", "cut"] = "refuse"  # code that the context has no room for
    keeps: float = Field(0.0, ge=0, le=1)  # the share of the target's lines that a right answer still has

    @field_validator("title", "description")
    @classmethod
    def _in_english(cls, value: dict[str, str]) -> dict[str, str]:
        if "en" not in value:
            raise ValueError("needs en")
        return value


@dataclass(frozen=True, slots=True)
class Shown:
    """As much of a subject as a prompt has."""

    before: str
    code: str
    after: str
    is_cut: bool = False

    @classmethod
    def all(cls, subject: Subject) -> Shown:
        first, last = subject.bounds
        lines = subject.lines
        return cls("".join(lines[:first]), "".join(lines[first:last]), "".join(lines[last:]))


@dataclass(frozen=True, slots=True)
class Action:
    name: str
    head: Head
    system: Template
    user: Template

    @property
    def makes_diff(self) -> bool:
        return self.head.answers == "diff"

    @property
    def sampling(self) -> dict[str, Any]:
        named = {"temperature": self.head.temperature, "top_p": self.head.top_p}
        return {name: value for name, value in named.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """For clients that offer it."""
        head = self.head
        return {
            "name": self.name,
            "title": {language: head.title.get(language, head.title["en"]) for language in LANGUAGES},
            "description": {language: head.description.get(language, head.description["en"]) for language in LANGUAGES},
            "answers": head.answers,
            "makes_diff": self.makes_diff,
        }

    def messages(self, subject: Subject, shown: Shown | None = None) -> Messages:
        """`shown`: as far as it fits; all of it where nobody says."""
        shown = shown or Shown.all(subject)
        fence = _fence(shown)

        def fenced(text: str) -> str:
            end = "" if text.endswith("\n") or not text else "\n"
            return f"{fence}{subject.label}\n{text}{end}{fence}"

        told = {
            "before": shown.before,
            "code": shown.code,
            "after": shown.after,
            "is_cut": shown.is_cut,
            "is_selection": subject.selection is not None,
            "lines": "" if subject.selection is None else f"{subject.selection[0]}-{subject.selection[1]}",
            "language": subject.label,
            "path": subject.shown_path,
            "instructions": subject.instructions.strip(),
            "fence": fence,
            "fenced": fenced,
        }
        parts = (("system", self.system), ("user", self.user))
        said = [{"role": role, "content": template.render(told).strip()} for role, template in parts]
        return [message for message in said if message["content"]]


def parse(name: str, text: str) -> Action:
    """Raises ConfigError with one sentence that says what is wrong with the file."""
    found = _FILE.match(text.replace("\r\n", "\n"))
    if found is None:
        raise ConfigError(f"the action {name} has no front matter between two lines of `---`.")
    try:
        head = Head.model_validate(yaml.safe_load(found["head"]))
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the action {name} has front matter that is no YAML: {' '.join(str(error).split())}"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the front matter"
        raise ConfigError(f"the action {name}: {place}: {first['msg'].removeprefix('Value error, ')}.") from error
    parts = _PARTS.match(found["rest"])
    if parts is None:
        raise ConfigError(f"the action {name} needs the headings `# System` and `# User`, in this order.")
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    try:
        action = Action(name, head, *(environment.from_string(parts[part]) for part in ("system", "user")))
        for trial in _TRIALS:  # every name that a template uses is there
            action.messages(trial)
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise ConfigError(f"the action {name} has a template that can't be filled: {error}") from error
    return action


def _fence(shown: Shown) -> str:
    """Longer than any run of backticks in the code, so that what is inside can't end it."""
    runs = (len(run) for text in (shown.before, shown.code, shown.after) for run in re.findall("`{3,}", text))
    return "`" * (max(runs, default=2) + 1)


_TRIALS = (
    Subject("a\nb\nc\n", "python", "a.py", (2, 2), "x"),
    Subject("a\n"),
)
