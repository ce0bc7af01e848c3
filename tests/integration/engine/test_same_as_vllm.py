"""What leaves vLLM's public API must not be seen: text and finish reasons are those of vLLM's own server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodify.settings import NANO_PATH
from tests.conftest import free_port
from tests.integration.conftest import MODEL, Process, environment, start_kodify

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


WAYS = (("direct", "kodify"), ("direct", "vllm"), ("generate", "vllm"))
# The four servers start and answer side by side, a core each: threads that wait for one another by spinning would be in
# their way.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@dataclass
class Told:
    answers: list[list[tuple[str, str, Any]]]
    metrics: str


def start_vllm(folder: Path) -> Process:
    """vLLM's own server, with its default Python front end."""
    port = free_port()
    words = [f"--model={NANO_PATH}", f"--served-model-name={MODEL}", "--host=127.0.0.1", f"--port={port}", *ENGINE]
    log = folder / "log"
    with log.open("w") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words],
            env=environment(**ONE_THREAD),
            stdout=output,
            stderr=output,
            text=True,
        )
    return Process(popen, port, log)


def ask_all(process: Process) -> Told:
    process.wait_until_healthy()
    with httpx.Client(base_url=process.url, timeout=120) as client:
        answers = [ask(client, path, body) for path, body in requests()]
        return Told(answers, client.get("/metrics").text)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Told]:
    """What Kodify answers by each of its ways, and what vLLM's own server does, which is ("", "")."""
    processes: dict[tuple[str, str], Process] = {}
    with ExitStack() as stack, ThreadPoolExecutor(1 + len(WAYS)) as threads:
        processes["", ""] = start_vllm(tmp_path_factory.mktemp("vllm"))
        stack.callback(processes["", ""].stop)
        for engine_path, reader in WAYS:
            folder = tmp_path_factory.mktemp(f"{engine_path}-{reader}")
            variables = {"ENGINE_PATH": engine_path, "ENGINE_READER": reader, "ADDITIONAL_ARGS": " ".join(ENGINE)}
            processes[engine_path, reader] = start_kodify(folder, **variables, **ONE_THREAD)
            stack.callback(processes[engine_path, reader].stop)
        return dict(zip(processes, threads.map(ask_all, processes.values()), strict=True))


def is_common(path: str, body: dict[str, Any]) -> bool:
    """Whether Kodify reads the request without vLLM's models."""
    rare = {"include_stop_str_in_output", "min_tokens", "skip_special_tokens", "logprobs", "n"}
    return not rare & body.keys()


def metric(text: str, series: str) -> float:
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(series + " ")), 0.0)


@pytest.mark.parametrize(("engine_path", "reader"), WAYS)
def test_text_and_finish_reasons_equal_vllms_own_server(
    told: dict[tuple[str, str], Told], engine_path: str, reader: str
) -> None:
    expected, answers = told["", ""].answers, told[engine_path, reader].answers
    served = told[engine_path, reader].metrics
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
