"""Boards and alerts name series of the engine that there are."""

from __future__ import annotations

import httpx

from tests.integration.conftest import MODEL
from tests.packaging.boards import missing


def test_every_series_of_the_engine_is_there(client: httpx.Client) -> None:
    body = {"model": MODEL, "prompt": "def add(a, b):", "max_tokens": 8}
    assert client.post("/v1/completions", json=body).status_code == 200
    assert not missing(client.get("/metrics").text, "vllm")
