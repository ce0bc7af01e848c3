"""What leaves vLLM's public API must not be seen: text and finish reasons are those of vLLM's own server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodify.settings import NANO_PATH
from tests.conftest import free_port
from tests.integration.conftest import MODEL, START_LIMIT_S, environment, start_kodify

# The same numbers on both sides: nothing cached from an earlier prompt, and full precision against ties.
ENGINE = ["--no-enable-prefix-caching", "--dtype=float32", "--enforce-eager", "--max-model-len=2048"]
SAMPLING: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1.0, "seed": 11},
    {"temperature": 0.7, "seed": 5, "top_p": 0.9, "top_k": 20},
    {"temperature": 0, "stop": ["\n"]},
    {"temperature": 0, "stop": ["self", "return", "("], "include_stop_str_in_output": True},
    {"temperature": 0, "frequency_penalty": 1.5, "min_tokens": 8},
    {"temperature": 0.9, "seed": 3, "stop": [" in ", ":"], "ignore_eos": True},
    {"temperature": 0, "skip_special_tokens": False, "repetition_penalty": 1.2},
    {"temperature": 0, "logprobs": 2},
    {"temperature": 1.2, "seed": 9, "n": 2},
]
PROMPTS: list[Any] = [
    "import os\n\ndef main():\n    ",
    "class Reader:\n    def __init__(self, path):\n        self.path = path\n\n    def read(self):\n",
    "# Привет, мир 😀\nx = '",
    "<|fim_prefix|>def add(a, b):\n    return <|fim_suffix|>\n\nprint(add(1, 2))\n<|fim_middle|>",
    "for i in range(10):\n" * 60,
    [40, 41, 42, 43],
]
CHATS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "Write a Python function `add`. Return the sum."}],
    [
        {"role": "system", "content": "You write Python."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "```python\n"},
        {"role": "user", "content": "Write a Python function `read`. Read a file."},
    ],
]


def requests() -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, body): every prompt with every way of sampling, whole and streamed."""
    for stream in (False, True):
        for fields in SAMPLING:
            rest = {"model": MODEL, "max_tokens": 24, "stream": stream, **fields}
            for prompt in PROMPTS:
                yield "/v1/completions", {**rest, "prompt": prompt}
            if "logprobs" in fields:
                rest |= {"logprobs": True, "top_logprobs": 2}
            for messages in CHATS:
                yield "/v1/chat/completions", {**rest, "messages": messages}


def ask(client: httpx.Client, path: str, body: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """(text, finish reason, stop reason) of each choice."""
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    choices: dict[int, list[Any]] = {}
    lines = answer.text.split("\n\n") if body["stream"] else ["data: " + answer.text]
    for line in lines:
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line[6:])["choices"]:
            kept = choices.setdefault(choice["index"], ["", None, None])
            message = choice.get("message") or choice.get("delta") or {}
            kept[0] += choice.get("text") or message.get("content") or ""
            if choice["finish_reason"]:
                kept[1:] = choice["finish_reason"], choice.get("stop_reason")
    return [tuple(choices[index]) for index in sorted(choices)]


def ask_all(url: str) -> list[list[tuple[str, str, Any]]]:
    with httpx.Client(base_url=url, timeout=120) as client:
        return [ask(client, path, body) for path, body in requests()]


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("vLLM's server did not start")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[str, str, Any]]]:
    """From vLLM's own server, with its default Python front end."""
    port = free_port()
    words = [f"--model={NANO_PATH}", f"--served-model-name={MODEL}", "--host=127.0.0.1", f"--port={port}", *ENGINE]
    log = tmp_path_factory.mktemp("vllm") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words],
            env=environment(),
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}", process)
        return ask_all(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(60)


def is_common(path: str, body: dict[str, Any]) -> bool:
    """Whether Kodify reads the request without vLLM's models."""
    rare = {"include_stop_str_in_output", "min_tokens", "skip_special_tokens", "logprobs", "n"}
    return not rare & body.keys()


def metric(text: str, series: str) -> float:
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(series + " ")), 0.0)


@pytest.mark.parametrize(
    ("engine_path", "reader"), [("direct", "kodify"), ("direct", "vllm"), ("generate", "vllm")], ids="-".join
)
def test_text_and_finish_reasons_equal_vllms_own_server(
    tmp_path: Path, expected: list[list[tuple[str, str, Any]]], engine_path: str, reader: str
) -> None:
    ways = {"ENGINE_PATH": engine_path, "ENGINE_READER": reader}
    process = start_kodify(tmp_path, **ways, ADDITIONAL_ARGS=" ".join(ENGINE))
    try:
        process.wait_until_healthy()
        answers = ask_all(process.url)
        served = httpx.get(f"{process.url}/metrics", timeout=30).text
    finally:
        process.stop()
    cases = list(requests())
    assert len(cases) >= 120
    different = [
        f"{path} {body}\n  vLLM   {theirs}\n  Kodify {ours}"
        for (path, body), theirs, ours in zip(cases, expected, answers, strict=True)
        if theirs != ours
    ]
    assert not different, "\n".join(different)
    # Each went the way that it should have: nothing takes a slower one silently.
    direct = engine_path == "direct"
    past_generate = sum(not {"logprobs", "n"} & body.keys() for _, body in cases) if direct else 0
    assert metric(served, 'kodify_engine_jobs_total{model="kodify-nano",path="direct"}') == past_generate
    common = sum(is_common(path, body) for path, body in cases) if direct else 0
    assert common == (80 if direct else 0)
    assert metric(served, 'kodify_engine_requests_total{model="kodify-nano",reader="kodify"}') == common
    assert metric(served, 'kodify_engine_requests_total{model="kodify-nano",reader="vllm"}') == len(cases) - common
    assert metric(served, f'kodify_engine_reader_info{{model="kodify-nano",reader="{reader}"}}') == 1
