"""Bodies that the engine's own models let in, and that were once a bug further on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.server.conftest import Spoken

EMPTY: dict[str, Any] = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": []}
# What a program of OpenAI's would list of a stored response: the engine's models read its parts as objects of a class.
LISTED: dict[str, Any] = {
    "type": "function_call_output",
    "id": "o",
    "call_id": "c",
    "status": "completed",
    "created_by": None,
    "output": [{"type": "input_text", "text": "a"}],
}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/responses", {"input": "hi", "background": None, "truncation": None, "max_output_tokens": 2}, 200),
        ("/v1/responses", {"input": [EMPTY], "max_output_tokens": 2}, 400),
        ("/v1/responses", {"input": [LISTED], "max_output_tokens": 2}, 400),
        ("/v1/embeddings", {"input": "hi"}, 404),
    ],
)
def test_an_odd_body(spoken: Spoken, path: str, body: dict[str, Any], status: int) -> None:
    with spoken.client() as client:
        answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
