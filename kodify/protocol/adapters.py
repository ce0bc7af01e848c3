"""What administrators send to load and unload LoRA adapters: vLLM's names, and the model's own."""

from __future__ import annotations

import msgspec


class LoadAdapter(msgspec.Struct):
    """`model`: whose adapter it is, where several are served."""

    lora_name: str
    lora_path: str
    model: str | None = None


class UnloadAdapter(msgspec.Struct):
    lora_name: str
