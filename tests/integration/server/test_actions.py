"""Code actions on the real engine: they fit its context, and what it says makes a diff or a complaint."""

from __future__ import annotations

import json
import uuid

import pytest
from typer.testing import CliRunner

from kodify.cli import app
from kodify.settings import NANO_PATH
from tests.integration.server.conftest import TOKEN, Spoken

pytestmark = pytest.mark.engine
CODE = (NANO_PATH.parent / "line.py").read_text()  # more than the context holds
CONTEXT = 4096


def test_a_selection_of_a_long_file_and_what_comes_of_it(spoken: Spoken) -> None:
    request_id = uuid.uuid4().hex
    body = {"code": CODE, "path": "kodify/line.py", "selection": {"start_line": 40, "end_line": 44}}
    with spoken.client() as client:
        headers = {"x-request-id": request_id}
        answer = client.post("/v1/actions/document", json={**body, "max_tokens": 40}, headers=headers)
        told = answer.json()
    assert answer.status_code == 200
    assert told["usage"]["prompt_tokens"] > 500  # with lines around it
    assert told["usage"]["completion_tokens"] <= 40
    assert ("diff" in told) != ("complaint" in told)
    row = spoken.row(request_id)
    assert row["response"]["action"] == "document"
    assert row["prompt_tokens"] == told["usage"]["prompt_tokens"]


def test_a_stream_and_the_room_that_an_answer_may_have(spoken: Spoken) -> None:
    body = {"code": "def add(a, b):\n    return a - b\n", "stream": True, "max_tokens": 1_000_000, "temperature": 0}
    with spoken.client() as client:
        text = client.post("/v1/actions/explain", json={**body, "max_tokens": 8}).text
        frames = text.strip().split("\n\n")
        assert frames.pop() == "data: [DONE]"
        last = json.loads(frames[-1].removeprefix("data: "))
        assert last["usage"]["completion_tokens"] <= 8
        refused = client.post("/v1/actions/explain", json={**body, "code": CODE * 4, "stream": False})
        assert refused.status_code == 400
        assert f"does not fit the model's context of {CONTEXT}" in refused.json()["message"]


def test_the_command_line(spoken: Spoken) -> None:
    result = CliRunner().invoke(
        app,
        ["commit-message", "-", "--server", spoken.process.url, "--token", TOKEN],
        input="diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-a = 1\n+a = 2\n",
    )
    assert result.exit_code in (0, 3), result.output
    assert bool(result.stdout.strip()) == (result.exit_code == 0)
