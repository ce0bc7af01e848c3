"""The blocks of code in a model's answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENS = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_THOUGHT = re.compile(r"\A\s*(?:<think>)?.*?</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """`lines` without their ends; `is_closed`: its last fence came."""

    lines: tuple[str, ...]
    is_closed: bool


@dataclass(frozen=True, slots=True)
class Answer:
    blocks: tuple[Block, ...]
    prose: str  # what stands around them


def read(text: str) -> Answer:
    """As Markdown has it: a block ends at a fence of the kind of its first one, at least as long."""
    blocks: list[Block] = []
    prose: list[str] = []
    inside: list[str] | None = None
    fence, indent = "", ""
    for line in _without_thoughts(text).replace("\r\n", "\n").split("\n"):
        if inside is None:
            found = _OPENS.match(line)
            if found is None:
                prose.append(line)
            else:
                inside, fence, indent = [], found["fence"], found["indent"]
        elif _closes(line, fence, indent):
            blocks.append(Block(tuple(inside), True))
            inside = None
        else:
            inside.append(line.removeprefix(indent))
    if inside is not None:
        blocks.append(Block(tuple(inside), False))
    return Answer(tuple(blocks), "\n".join(prose).strip())


def _closes(line: str, fence: str, indent: str) -> bool:
    bare = line.removeprefix(indent)
    if len(bare) - len(bare.lstrip(" ")) > 3:
        return False
    bare = bare.strip(" \t")
    return len(bare) >= len(fence) and bare == fence[0] * len(bare)


def _without_thoughts(text: str) -> str:
    """Of models whose thinking no parser of the server takes away."""
    return _THOUGHT.sub("", text, count=1) if "</think>" in text else text
