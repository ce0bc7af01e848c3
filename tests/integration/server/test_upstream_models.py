"""Kodify before a real engine, in another Kodify and in vLLM's own server: nothing is lost or changed on the way."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kodify.engine.upstream import UpstreamEngine
from kodify.engine.upstream_pool import UpstreamOptions
from kodify.settings import NANO_PATH, Settings
from tests import conftest
from tests.conftest import eventually, free_port, leave
from tests.integration.conftest import MODEL, START_LIMIT_S, Process, environment

TASK = "Write a Python function `add`."
CHAT: list[dict[str, str]] = [{"role": "user", "content": TASK}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CHAT, "max_tokens": 24, "stream_options": {"include_usage": True}},
    "/v1/completions": {"prompt": "def add(a, b):\n", "max_tokens": 24, "stream_options": {"include_usage": True}},
    "/v1/messages": {"messages": CHAT, "max_tokens": 24, "system": "Be short."},
    "/v1/responses": {"input": TASK, "max_output_tokens": 24, "instructions": "Be short."},
}
LONG = "word " * 9000
TOO_LONG: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": LONG}]},
    "/v1/completions": {"prompt": LONG},
    "/v1/messages": {"messages": [{"role": "user", "content": LONG}], "max_tokens": 24},
    "/v1/responses": {"input": LONG},
}


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of vLLM's own server, with its default Python front end."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = [f"--model={NANO_PATH}", f"--served-model-name={MODEL}", "--host=127.0.0.1", f"--port={port}"]
    with (tmp_path_factory.mktemp("vllm") / "log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words, "--enforce-eager"],
            env=environment(),
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not is_well(url):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:  # it does not listen while it loads
            process.kill()
            process.wait(60)


def is_well(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(params=["kodify", "vllm"])
def behind(request: pytest.FixtureRequest) -> str:
    if request.param == "vllm":
        return str(request.getfixturevalue("vllm"))
    process: Process = request.getfixturevalue("nano")
    return process.url


@pytest.fixture
def both(settings: Settings, behind: str) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """To Kodify before the server, and to the server."""
    with before(settings, behind) as front, httpx.Client(base_url=behind, timeout=120) as directly:
        yield front, directly


@contextlib.contextmanager
def before(settings: Settings, url: str) -> Iterator[httpx.Client]:
    """A client of Kodify before the server."""
    with conftest.serving(settings, UpstreamEngine([UpstreamOptions(url)])) as served, served.client() as client:
        eventually(lambda: bool(served.app.state.ready))
        yield client


def said(path: str, answer: httpx.Response) -> tuple[str, Any, list[int]]:
    """Text, why it ended, and the tokens of prompt and answer, out of a whole answer or of events."""
    assert answer.status_code == 200, answer.text
    told = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")] or [answer.json()]
    text, reason = "", None
    usage: dict[str, int] = {}
    for one in told:
        match path:
            case "/v1/messages":
                text += "".join(block.get("text", "") for block in one.get("content", ()))
                text += one["delta"].get("text", "") if "delta" in one else ""
                reason = (one.get("delta") or one).get("stop_reason") or reason
                usage = one.get("usage") or usage
            case "/v1/responses":
                text += one.get("delta", "")
                response = one if one.get("object") == "response" else one.get("response", {})
                if one is response:
                    text = "".join(part["text"] for item in one["output"] for part in item["content"])
                reason = response.get("status") or reason
                usage = response.get("usage") or usage
            case _:
                for choice in one["choices"]:
                    text += (
                        choice.get("text") or (choice.get("message") or choice.get("delta") or {}).get("content") or ""
                    )
                    reason = choice["finish_reason"] or reason
                usage = one.get("usage") or usage
    prefixes = ("input", "output") if path in ("/v1/messages", "/v1/responses") else ("prompt", "completion")
    return text, reason, [usage.get(f"{prefix}_tokens", -1) for prefix in prefixes]


@pytest.mark.parametrize("path", BODIES)
def test_the_same_text(both: tuple[httpx.Client, httpx.Client], path: str) -> None:
    found = []
    for client in both:
        for stream in (False, True):
            body = {"model": MODEL, "temperature": 0, "stream": stream, **BODIES[path]}
            if not stream:
                body.pop("stream_options", None)
            found.append(said(path, client.post(path, json=body)))
    text, reason, [prompt, completion] = found[0]
    assert len(text) > 10
    assert reason in ("length", "max_tokens", "incomplete", "completed")
    assert (prompt > 5, completion) == (True, 24)
    assert found == [found[0]] * 4


def test_the_same_tokens(both: tuple[httpx.Client, httpx.Client]) -> None:
    for path, body in (
        ("/tokenize", {"prompt": TASK, "return_token_strs": True}),
        ("/tokenize", {"messages": CHAT}),
        ("/detokenize", {"tokens": [40, 41, 42]}),
        ("/v1/messages/count_tokens", {"messages": CHAT, "system": "Be short."}),
    ):
        front, direct = (client.post(path, json={"model": MODEL, **body}) for client in both)
        assert direct.status_code == 200
        assert front.json() == direct.json()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", TOO_LONG)
def test_a_prompt_that_is_too_long(both: tuple[httpx.Client, httpx.Client], path: str, stream: bool) -> None:
    body = {"model": MODEL, "stream": stream, **TOO_LONG[path]}
    front, direct = (client.post(path, json=body) for client in both)
    assert (front.status_code, direct.status_code) == (400, 400)
    assert front.json()["error"]["message"] == direct.json()["error"]["message"]
    assert "4096" in front.json()["error"]["message"]


@pytest.mark.parametrize("path", [*BODIES, "/tokenize"])
def test_an_unknown_model(both: tuple[httpx.Client, httpx.Client], path: str) -> None:
    body = {"model": "nobody", "stream": True, **(BODIES.get(path) or {"prompt": "a"})}
    assert [client.post(path, json=body).status_code for client in both] == [404, 404]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_a_client_that_leaves(settings: Settings, nano: Process, path: str, stream: bool) -> None:
    def running() -> int:
        return int(httpx.get(f"{nano.url}/ready").json()["running"])

    long = {"max_output_tokens": 3900} if path == "/v1/responses" else {"max_tokens": 3900}
    body = {"model": MODEL, "temperature": 0, **BODIES[path], **long, "ignore_eos": True, "stream": stream}
    if not stream:
        body.pop("stream_options", None)
    with before(settings, nano.url) as client:
        if stream:
            with client.stream("POST", path, json=body) as answer:
                lines = answer.iter_lines()  # held: the client leaves when it is let go
                assert any("delta" in line or '"text"' in line for line in lines)
                assert running() == 1
        else:
            leave(str(client.base_url).rstrip("/"), path, body, lambda: running() == 1)
        eventually(lambda: running() == 0)
