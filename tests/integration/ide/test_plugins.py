"""The requests that plugins which can't run here send, field by field, and the fields that they read in the answers:
llama.vim and llama.vscode on `/infill`, Zed's edit prediction and Continue's autocomplete on `/v1/completions`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import httpx
import pytest

from tests.integration.conftest import MODEL, Process

pytestmark = pytest.mark.engine

PREFIX = "import unittest\n\n\nclass Test(unittest.TestCase):\n    def test_a(self):\n"
MIDDLE = "        self.assert"
SUFFIX = "\n\n\nif __name__ == '__main__':\n    unittest.main()\n"
CHUNK = {"text": "class Known:\n    pass\n", "time": [17, 42], "filename": "known.py"}

TIMINGS = ["prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second"]
TIMINGS += ["predicted_n", "predicted_ms", "predicted_per_token_ms", "predicted_per_second"]
VIM_FIELDS = ["content", *(f"timings/{name}" for name in TIMINGS), "truncated", "tokens_cached"]
VIM: dict[str, Any] = {
    "id_slot": 0, "input_prefix": PREFIX, "input_suffix": SUFFIX, "input_extra": [CHUNK], "prompt": MIDDLE,
    "n_predict": 128, "stop": [], "n_indent": 8, "top_k": 40, "top_p": 0.9, "samplers": ["top_k", "top_p", "infill"],
    "stream": False, "cache_prompt": True, "t_max_prompt_ms": 500, "t_max_predict_ms": 250,
    "response_fields": VIM_FIELDS, "model": "",
}  # fmt: skip
VIM_WARM_UP: dict[str, Any] = {
    "id_slot": 0, "input_prefix": "", "input_suffix": "", "input_extra": [CHUNK], "prompt": "", "n_predict": 0,
    "temperature": 0.0, "samplers": [], "stream": False, "cache_prompt": True, "t_max_prompt_ms": 1,
    "t_max_predict_ms": 1, "response_fields": [""], "model": "",
}  # fmt: skip
VSCODE: dict[str, Any] = {
    "id_slot": 0, "input_prefix": "import os\n" + PREFIX, "input_suffix": SUFFIX, "input_extra": [CHUNK],
    "prompt": MIDDLE, "n_predict": 128, "n_cmpl": 3, "top_k": 40, "top_p": 0.99, "stream": False,
    "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True, "n_indent": 8, "t_max_prompt_ms": 500,
    "t_max_predict_ms": 500,
}  # fmt: skip
VSCODE_WARM_UP: dict[str, Any] = {
    "id_slot": 0, "input_prefix": "", "input_suffix": "", "input_extra": [CHUNK], "prompt": "", "n_predict": 0,
    "samplers": [], "cache_prompt": True, "t_max_prompt_ms": 500, "t_max_predict_ms": 1,
}  # fmt: skip
MARKED = f"<|fim_prefix|>{PREFIX}{MIDDLE}<|fim_suffix|>{SUFFIX}<|fim_middle|>"
ZED: dict[str, Any] = {
    "model": MODEL, "prompt": MARKED, "max_tokens": 64,
    "stop": ["<|endoftext|>", "<|file_separator|>", "<|fim_pad|>", "<|fim_prefix|>", "<|fim_middle|>",
             "<|fim_suffix|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<PRE>", "<SUF>", "<MID>", "[PREFIX]",
             "[SUFFIX]"],
}  # fmt: skip


def post_as_vim(url: str, body: dict[str, Any]) -> str:
    """llama.vim sends through curl, and without a token an empty one."""
    headers = ["Content-Type: application/json", "Authorization: Bearer "]
    if shutil.which("curl") is None:
        split = [header.split(": ", 1) for header in headers]
        return httpx.post(url, json=body, headers=[(name, value) for name, value in split], timeout=60).text
    words = ["curl", "--silent", "--no-buffer", "--request", "POST", "--url", url, "--data", "@-"]
    for header in headers:
        words += ["--header", header]
    return subprocess.run(words, input=json.dumps(body), capture_output=True, text=True, timeout=60, check=True).stdout


def test_llama_vim(nano: Process) -> None:
    said = post_as_vim(f"{nano.url}/infill", VIM)
    assert "\n" not in said  # the plugin is called once a line
    assert re.match(r'^\s*\{.*"content"\s*:"', said)  # how it tells an answer from an error
    answer = json.loads(said)
    assert set(answer) == set(VIM_FIELDS)
    assert answer["content"].strip()
    assert all(answer[f"timings/{name}"] > 0 for name in TIMINGS)
    assert answer["truncated"] is False


def test_llama_vim_warms_the_cache_up(nano: Process) -> None:
    assert json.loads(post_as_vim(f"{nano.url}/infill", VIM_WARM_UP)) == {}


def test_llama_vscode(client: httpx.Client) -> None:
    warm = client.post("/infill", json=VSCODE_WARM_UP)
    assert (warm.status_code, warm.json()["content"]) == (200, "")
    answer = client.post("/infill", json=VSCODE).json()
    assert answer["content"].strip()
    assert answer["tokens_cached"] >= 0
    assert answer["generation_settings"]["n_ctx"] > 0
    for name in ("prompt_n", "prompt_ms", "prompt_per_second", "predicted_n", "predicted_ms", "predicted_per_second"):
        assert answer["timings"][name] > 0, name
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/v1/models").json()["data"][0]["id"] == MODEL


def test_zeds_edit_prediction(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json=ZED).json()
    assert answer["choices"][0]["text"].strip()
    assert {"id", "object", "created", "model", "choices", "usage"} <= set(answer)
    assert set(answer["usage"]) >= {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert not any(marker in answer["choices"][0]["text"] for marker in ZED["stop"])


def test_continues_autocomplete(client: httpx.Client) -> None:
    body = {"model": MODEL, "prompt": MARKED, "max_tokens": 64, "temperature": 0, "stop": ZED["stop"][:6],
            "stream": True}  # fmt: skip
    events = client.post("/v1/completions", json=body).text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    texts = [json.loads(event.removeprefix("data: "))["choices"][0]["text"] for event in events[:-1]]
    whole = client.post("/v1/completions", json={**body, "stream": False}).json()
    assert "".join(texts) == whole["choices"][0]["text"]
    assert "".join(texts).strip()
