"""The walls between the rooms: who may import whom, and no import cycles."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import kodify

ROOT = Path(kodify.__file__).parent

# Room: the kodify modules that it may import, beside itself. What is not listed may import anything.
MAY_IMPORT: dict[str, set[str]] = {
    "kodify.errors": set(),
    "kodify.shipped": set(),
    "kodify.capacity": {"kodify.errors"},
    "kodify.doctor": {"kodify", "kodify.db", "kodify.errors", "kodify.settings", "kodify.verdicts"},
    "kodify.config_file": {"kodify.errors"},
    "kodify.settings": {"kodify.errors", "kodify.config_file"},
    "kodify.line": {"kodify.errors"},
    "kodify.metrics": {"kodify", "kodify.line"},
    "kodify.engine.base": set(),
    "kodify.engine.scripted": {"kodify.engine.base", "kodify.engine.parting", "kodify.errors"},
    "kodify.engine": {"kodify.errors", "kodify.settings"},
    "kodify.engine.vllm_logging": {"kodify.errors", "kodify.logs", "kodify.settings"},
    "kodify.protocol": {"kodify.engine.base"},
    "kodify.actions": {"kodify.engine.base", "kodify.errors", "kodify.preprocess"},
    "kodify.preprocess": {"kodify.engine.base", "kodify.errors", "kodify.shipped"},
    "kodify.autocomplete": {"kodify.engine.base", "kodify.journal", "kodify.metrics"},
    "kodify.censor": {"kodify.config_file", "kodify.engine.base", "kodify.errors"},
    "kodify.markdown": set(),
    "kodify.chats": {
        "kodify.db",
        "kodify.engine.base",
        "kodify.errors",
        "kodify.generation",
        "kodify.journal",
        "kodify.line",
        "kodify.metrics",
        "kodify.settings",
    },
    "kodify.engines": {"kodify.engine.base", "kodify.errors", "kodify.line", "kodify.preprocess"},
    "kodify.watch": {"kodify.engines", "kodify.errors"},
    "kodify.generation": {
        "kodify.engine.base",
        "kodify.line",
        "kodify.metrics",
        "kodify.journal",
        "kodify.recording",
        "kodify.serving",
    },
    "kodify.recording": {"kodify.engine.base", "kodify.journal"},
    "kodify.serving": {"kodify.tracing"},
    "kodify.tracing": {"kodify", "kodify.settings"},
    "kodify.logs": {"kodify.journal.secrets", "kodify.serving", "kodify.settings"},
    "kodify.journal": {"kodify", "kodify.db", "kodify.errors", "kodify.metrics", "kodify.settings"},
    "kodify.web": set(),
    "kodify.retrieval": {
        "kodify.config_file",
        "kodify.engine.base",
        "kodify.engine.parting",
        "kodify.engines",
        "kodify.errors",
        "kodify.preprocess.languages",
        "kodify.settings",
    },
    "kodify.db": {"kodify.errors", "kodify.settings", "kodify.shipped"},
    "kodify.auth": {"kodify.db", "kodify.errors", "kodify.metrics", "kodify.settings"},
}


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = ("kodify", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """The kodify modules that a module imports anywhere in it, type-checking blocks included."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return {module for module in found if module in MODULES and module != name}


def room_of(name: str) -> str | None:
    """The longest entry of the table that the module belongs to."""
    return max((room for room in MAY_IMPORT if name == room or name.startswith(room + ".")), key=len, default=None)


def test_there_are_no_import_cycles() -> None:
    TopologicalSorter({name: imports(name) for name in MODULES}).prepare()  # raises CycleError


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_room_imports_only_what_it_may(name: str) -> None:
    room = room_of(name)
    if room is None:
        return
    allowed = MAY_IMPORT[room]
    for module in imports(name):
        fits = any(module == other or module.startswith(other + ".") for other in (room, *(allowed - {"kodify"})))
        assert fits or module in allowed, f"{name} imports {module}"
