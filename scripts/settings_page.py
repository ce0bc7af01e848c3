"""Writes the tables of docs/settings.md, between its marks: Kodify's own variables by group, and compose.yaml's."""

from __future__ import annotations

import re
from pathlib import Path

from kodify.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
BEGIN, END = "<!-- variables -->\n", "<!-- end of variables -->\n"
HEAD = "| Variable | What | Default |\n|---|---|---|\n"


def tables() -> str:
    """In the order and the groups of settings.py, whose comments name them."""
    fields = {field.alias: field for field in Settings.model_fields.values() if field.alias}
    groups: dict[str, list[str]] = {}
    name = ""
    for line in (ROOT / "kodify" / "settings.py").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"    # (.+)$", line):
            name = found[1]
        for alias in re.findall(r'\balias="([A-Z0-9_]+)"', line):
            if alias not in fields:  # another class's, the command line's own
                continue
            field = fields.pop(alias)
            default = "" if field.default in (None, "", False) else f"`{field.default}`"
            groups.setdefault(name, []).append(f"| `{alias}` | {field.description} | {default} |")
    assert not fields, f"settings.py names {', '.join(fields)} in a way that this does not read"
    return "\n".join(
        f"### {name[:1].upper()}{name[1:]}\n\n{HEAD}" + "\n".join(rows) + "\n" for name, rows in groups.items()
    )


def page(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
