"""Writes the tables of docs/api.md, between its marks: every route, who may ask it, what it is for."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.routing import Route, WebSocketRoute

from kodify.api.operations import OPERATIONS, Operation
from kodify.app import ROUTES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
BEGIN, END = "<!-- routes -->\n", "<!-- end of routes -->\n"
WHO = {"public": "anybody", "user": "a user", "admin": "an administrator"}


def tables() -> str:
    groups: dict[str, list[str]] = {}
    for route in ROUTES:
        scope = WHO[getattr(route.endpoint, "scope", "public")]  # type: ignore[attr-defined]
        if isinstance(route, WebSocketRoute):
            groups.setdefault("Chats", []).append(f"| `WS {route.path}` | {scope} | Follow a chat's answers. | 101 |")
            continue
        assert isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operation = _operation(method, route.path)
            summary = operation.summary + (" Streams." if operation.streams else "")
            answers = ", ".join(map(str, (operation.status, *operation.errors)))
            groups.setdefault(operation.group, []).append(
                f"| `{method} {route.path}` | {scope} | {summary} | {answers} |"
            )
    head = "| Route | Who | What | Answers |\n|---|---|---|---|\n"
    return "\n".join(
        f"### {name[:1].upper()}{name[1:]}\n\n{head}" + "\n".join(rows) + "\n" for name, rows in groups.items()
    )


def _operation(method: str, path: str) -> Operation:
    return OPERATIONS[method, re.sub(r":\w+}", "}", path)]


def page(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
