"""What Tabby's clients send and read."""

from __future__ import annotations

from typing import Any

import msgspec


class Snippet(msgspec.Struct):
    filepath: str
    body: str
    score: float | None = None


class Segments(msgspec.Struct):
    prefix: str
    suffix: str | None = None
    filepath: str | None = None
    git_url: str | None = None
    declarations: list[Snippet] | None = None
    relevant_snippets_from_changed_files: list[Snippet] | None = None
    relevant_snippets_from_recently_opened_files: list[Snippet] | None = None
    clipboard: str | None = None

    @property
    def snippets(self) -> list[Snippet]:
        """What is likeliest to matter first."""
        return [
            *(self.declarations or ()),
            *(self.relevant_snippets_from_changed_files or ()),
            *(self.relevant_snippets_from_recently_opened_files or ()),
        ]


class DebugOptions(msgspec.Struct):
    raw_prompt: str | None = None
    return_snippets: bool | None = None
    return_prompt: bool | None = None
    disable_retrieval_augmented_code_completion: bool | None = None


class CompletionRequest(msgspec.Struct):
    language: str | None = None
    segments: Segments | None = None
    user: str | None = None
    debug_options: DebugOptions | None = None
    temperature: float | None = None
    seed: int | None = None
    deadline_ms: float | None = None


def health(model: str | None, chat_model: str | None, device: str, build: dict[str, str]) -> dict[str, Any]:
    """`version` must be there, or the agent ends; a `webserver` that is anything but null sends editors to pages that
    are not served."""
    kind = "cpu" if device == "cpu" else "cuda"
    return {
        "model": model,
        "chat_model": chat_model,
        "chat_device": kind,
        "device": kind,
        "cuda_devices": [] if kind == "cpu" else [device],
        "models": {
            "completion": {"local": {"model_id": model, "device": kind}} if model else None,
            "chat": {"local": {"model_id": chat_model, "device": kind}} if chat_model else None,
            "embedding": None,
        },
        "version": build,
        "webserver": None,
    }


def completion(completion_id: str, text: str, debug: dict[str, Any] | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"id": completion_id, "choices": [{"index": 0, "text": text}]}
    return answer if debug is None else {**answer, "debug_data": debug}


def debug_data(snippets: list[dict[str, Any]] | None, prompt: str | None) -> dict[str, Any] | None:
    """What `debug_options` asked to see."""
    found: dict[str, Any] = {}
    if snippets is not None:
        found["snippets"] = snippets
    if prompt is not None:
        found["prompt"] = prompt
    return found or None
