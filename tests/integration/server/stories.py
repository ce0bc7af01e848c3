"""What the engine without a model says in tests of tool loops: stories, told in the words of several model families."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SCRIPT_VARIABLE = "KODIFY_TEST_SCRIPT"


@dataclass(frozen=True)
class Call:
    """A tool's call, and what comes of it."""

    name: str
    arguments: dict[str, Any]
    result: str
    failed: bool = False


@dataclass(frozen=True)
class Turn:
    calls: tuple[Call, ...]
    text: str = ""  # said before the calls

    @property
    def asked(self) -> list[tuple[str, dict[str, Any]]]:
        return [(call.name, call.arguments) for call in self.calls]


@dataclass(frozen=True)
class Story:
    question: str
    turns: tuple[Turn, ...]
    answer: str

    @property
    def calls(self) -> list[Call]:
        return [call for turn in self.turns for call in turn.calls]


STORIES = {
    "two-at-once": Story(
        "How warm is it in Kazan and in Omsk?",
        (
            Turn(
                (
                    Call("get_weather", {"city": "Kazan", "days": 1}, "21 degrees"),
                    Call("get_weather", {"city": "Omsk", "days": 2}, "7 degrees"),
                )
            ),
        ),
        "It is 21 degrees in Kazan and 7 in Omsk.",
    ),
    "one-after-the-other": Story(
        "Rename the function and run the tests.",
        (
            Turn(
                (
                    Call(
                        "edit_file",
                        {
                            "path": "src/reader.py",
                            "text": 'def прочесть(path):\n\treturn f"{path}\\n" < 1 & 2\n',
                            "places": [{"line": 3, "columns": [1, 8]}, {"line": 40, "columns": []}],
                            "dry_run": False,
                        },
                        "2 places changed",
                    ),
                ),
                text="I change the file first.",
            ),
            Turn((Call("run_tests", {"folder": "tests/unit"}, "12 passed"),)),
        ),
        "Renamed; all 12 tests pass.",
    ),
    "one-that-fails": Story(
        "How warm is it in Atlantis?",
        (Turn((Call("get_weather", {"city": "Atlantis", "days": 3}, "no such city", failed=True),)),),
        "There is no such city.",
    ),
}
# Longer than the tests let it be.
CUT = Story(
    "Write it out in full.",
    (Turn((Call("edit_file", {"path": "src/long.py", "text": "value = 1\n" * 100}, ""),)),),
    "",
)
CUT_TOKENS = 60

SCHEMAS: dict[str, dict[str, Any]] = {
    "get_weather": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "edit_file": {
        "path": {"type": "string"},
        "text": {"type": "string"},
        "places": {"type": "array", "items": {"type": "object"}},
        "dry_run": {"type": "boolean"},
    },
    "run_tests": {"folder": {"type": "string"}},
}


def schema(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": SCHEMAS[name]}


def _hermes(turn: Turn) -> str:
    calls = (json.dumps({"name": name, "arguments": given}, ensure_ascii=False) for name, given in turn.asked)
    return turn.text + "".join(f"<tool_call>\n{call}\n</tool_call>\n" for call in calls)


def _llama(turn: Turn) -> str:
    """Calls alone: what begins with words is an answer."""
    calls = (json.dumps({"name": name, "parameters": given}, ensure_ascii=False) for name, given in turn.asked)
    return "; ".join(calls)


def _qwen(turn: Turn) -> str:
    text = turn.text
    for name, given in turn.asked:
        text += f"<tool_call>\n<function={name}>\n"
        for key, value in given.items():
            told = value if isinstance(value, str) else json.dumps(value)
            text += f"<parameter={key}>\n{told}\n</parameter>\n"
        text += "</function>\n</tool_call>\n"
    return text


FAMILIES: dict[str, Callable[[Turn], str]] = {"hermes": _hermes, "llama3_json": _llama, "qwen3_coder": _qwen}


def text_of(family: str, turn: Turn) -> str:
    """What a client is shown of a turn beside its calls."""
    return "" if family == "llama3_json" else turn.text


def script(family: str) -> list[tuple[list[str], str]]:
    """Pairs: all that a prompt has to have in it, what is said then. To say the next thing of a story the model has to
    be shown all of it so far: the question, each call and each result."""
    write = FAMILIES[family]
    pairs: list[tuple[list[str], str]] = [([], "?")]
    for story in (*STORIES.values(), CUT):
        seen = [story.question]
        for turn in story.turns:
            pairs.append(([*seen], write(turn)))
            seen += [mark for call in turn.calls for mark in (str(next(iter(call.arguments.values()))), call.result)]
        pairs.append((seen, story.answer))
    return pairs
