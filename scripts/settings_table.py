"""Prints the README's rows of the settings: one for each field of kodify.settings.Settings."""

from __future__ import annotations

from kodify.settings import Settings


def rows() -> list[str]:
    shown = []
    for field in Settings.model_fields.values():
        if field.alias:
            default = "" if field.default in (None, "", False) else f"`{field.default}`"
            shown.append(f"| `{field.alias}` | {field.description} | {default} |")
    return shown


if __name__ == "__main__":
    print("\n".join(rows()))
