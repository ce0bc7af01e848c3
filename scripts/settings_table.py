"""Prints the README's rows of the settings: one for each field of kodify.settings."""

from __future__ import annotations

from pydantic_settings import BaseSettings

from kodify.settings import ClientSettings, Settings


def rows(settings: type[BaseSettings] = Settings) -> list[str]:
    shown = []
    for field in settings.model_fields.values():
        if field.alias:
            default = "" if field.default in (None, "", False) else f"`{field.default}`"
            shown.append(f"| `{field.alias}` | {field.description} | {default} |")
    return shown


if __name__ == "__main__":
    print("\n".join(rows()), "\n".join(rows(ClientSettings)), sep="\n\n")
