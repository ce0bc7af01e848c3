"""Writes preprocess_configs/schema/preset.schema.json, by which editors check a preset."""

from __future__ import annotations

import json

from kodify.preprocess.presets import PRESETS, Preset

PATH = PRESETS / "schema" / "preset.schema.json"


def schema() -> str:
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Preset.model_json_schema(by_alias=True)}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(schema(), encoding="utf-8")
