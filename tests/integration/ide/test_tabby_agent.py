"""Tabby's own agent, headless, against Kodify: what the plugins for VS Code, JetBrains, Vim and Eclipse run."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from kodify.engine.scripted import Script, ScriptedEngine
from tests.conftest import Serve, Served, eventually
from tests.integration.conftest import Process
from tests.integration.ide.agent import LanguageServer, LineAgent, config
from tests.integration.ide.conftest import StartAgent

TOKEN = "a-token-of-the-company"
TEXT = "def add(a, b):\n    return "
MAIN = "import unittest\n\n\nif __name__ == "


def ready(serve: Serve, *, endless: bool = False, **variables: object) -> Served:
    served = serve(Script(pieces=("first ", "+ second"), endless=endless), **variables)
    eventually(lambda: bool(served.app.state.ready))
    return served


def engine_of(served: Served) -> ScriptedEngine:
    assert isinstance(served.engine, ScriptedEngine)
    return served.engine


def ask_of(text: str, rest: str = "\n") -> dict[str, Any]:
    """What an editor says of its text and its cursor, which is at the end of `text`."""
    return {"filepath": "/project/m.py", "workspace": "/project", "language": "python", "text": text + rest,
            "position": len(text)}  # fmt: skip


def statuses(agent: LineAgent, status: str) -> Any:
    return agent.wait(lambda message: message[1] == {"event": "statusChanged", "status": status})


@pytest.mark.engine
def test_a_completion_of_the_real_engine(nano: Process, start_agent: StartAgent) -> None:
    agent = start_agent(config(nano.url))
    assert agent.call("initialize", {}) is True
    assert agent.call("getStatus") == "ready"
    assert agent.call("getServerHealthState")["model"] == "kodify-nano"
    answer = agent.call("provideCompletions", ask_of(MAIN))
    assert [choice["text"] for choice in answer["choices"]] == [direct(nano, {"filepath": "m.py"})]
    assert answer["id"].startswith("cmpl-")


@pytest.mark.engine
def test_a_language_servers_completion_of_the_real_engine(nano: Process, start_agent: StartAgent) -> None:
    server = start_agent(config(nano.url), LanguageServer)
    (item,) = language_completion(server, MAIN)
    assert item["textEdit"]["newText"] == direct(nano, {})


def direct(nano: Process, more: dict[str, str]) -> str:
    """What Kodify itself answers to what the agent asks."""
    body = {"language": "python", "segments": {"prefix": MAIN, "suffix": "\n", **more}}
    text: str = httpx.post(f"{nano.url}/v1/completions", json=body, timeout=60).json()["choices"][0]["text"]
    assert len(text.strip()) >= 4  # the agent shows nothing shorter
    return text


def language_completion(server: LanguageServer, text: str) -> list[dict[str, Any]]:
    client = {"name": "tests", "version": "1"}
    server.call("initialize", {"processId": None, "rootUri": None, "clientInfo": client, "capabilities": {}})
    server.tell("initialized", {})
    document = {"uri": "file:///project/m.py", "languageId": "python", "version": 1, "text": text + "\n"}
    server.tell("textDocument/didOpen", {"textDocument": document})
    line = text.count("\n")
    position = {"line": line, "character": len(text.rpartition("\n")[2])}
    found = server.call("textDocument/completion", {"textDocument": {"uri": document["uri"]}, "position": position})
    items: list[dict[str, Any]] = found["items"]
    return items


def test_a_completion_and_what_became_of_it(serve: Serve, start_agent: StartAgent) -> None:
    served = ready(serve, VLLM_API_KEY=SecretStr(TOKEN))
    agent = start_agent(config(served.url, TOKEN))
    agent.call("initialize", {})
    statuses(agent, "ready")
    answer = agent.call("provideCompletions", ask_of(TEXT))
    assert [choice["text"] for choice in answer["choices"]] == ["first + second"]
    decoded = served.engine.vocabulary.decode(engine_of(served).jobs[-1].prompts[0].token_ids)
    assert decoded == f"<|fim_prefix|>{TEXT}<|fim_suffix|>\n<|fim_middle|>"
    event = {"completion_id": answer["id"], "choice_index": 0, "view_id": "v1", "elapsed": 1234}
    for kind in ("view", "select", "dismiss"):
        assert agent.call("postEvent", {"type": kind, "select_kind": "line", **event}) is True
    with served.client() as client:
        shown = client.get("/metrics").text
    for name in ("answered", "shown", "accepted", "dismissed"):
        assert f'kodify_completions_{name}_total{{language="python",model="scripted"}} 1.0' in shown


def test_the_agent_is_told_to_report_to_nobody_else(serve: Serve, start_agent: StartAgent) -> None:
    served = ready(serve)
    agent = start_agent(config(served.url))
    agent.call("initialize", {})
    eventually(lambda: agent.data.exists() and served.url in agent.data.read_text())
    told = json.loads(agent.data.read_text())["serverConfig"][served.url]
    assert told == {"anonymousUsageTracking": {"disable": True}}


def test_a_wrong_token_is_unauthorized_until_it_is_mended(serve: Serve, start_agent: StartAgent) -> None:
    served = ready(serve, VLLM_API_KEY=SecretStr(TOKEN))
    agent = start_agent(config(served.url, "another-token"))
    agent.call("initialize", {})
    statuses(agent, "unauthorized")
    assert agent.call("getStatus") == "unauthorized"
    assert agent.call("provideCompletions", ask_of(TEXT)) is None
    agent.call("updateConfig", "server.token", TOKEN)
    statuses(agent, "ready")
    assert agent.call("provideCompletions", ask_of(TEXT))["choices"][0]["text"] == "first + second"


def test_a_language_server_warns_of_a_wrong_token(serve: Serve, start_agent: StartAgent) -> None:
    served = ready(serve, VLLM_API_KEY=SecretStr(TOKEN))
    server = start_agent(config(served.url, "another-token"), LanguageServer)
    assert language_completion(server, TEXT) == []
    assert "unauthorized" in server.heard("window/showMessage")["message"]
    assert engine_of(served).jobs == []


def test_a_language_servers_completion(serve: Serve, start_agent: StartAgent) -> None:
    served = ready(serve)
    server = start_agent(config(served.url), LanguageServer)
    (item,) = language_completion(server, TEXT)
    assert item["textEdit"]["newText"] == "first + second"
    assert item["data"]["completionId"].startswith("cmpl-")


@pytest.mark.parametrize("supersede", [False, True])
def test_the_next_keystroke_stops_the_engine(serve: Serve, start_agent: StartAgent, supersede: bool) -> None:
    """The agent closes its socket; that alone does it, without Kodify's own superseding."""
    served = ready(serve, endless=True, COMPLETION_SUPERSEDE=supersede, COMPLETION_DEADLINE_S=600)
    engine = engine_of(served)
    agent = start_agent(config(served.url))
    agent.call("initialize", {})
    typed = ("x", "xy", "xyz")
    asked = []
    for number, more in enumerate(typed, start=1):
        asked.append(agent.ask("provideCompletions", ask_of(TEXT + more), {"signal": True}))
        eventually(lambda number=number: len(engine.jobs) == number and engine.running() == 1)  # type: ignore[misc]
        assert engine.cancelled == number - 1
    assert [agent.answer(number) for number in asked[:-1]] == [None, None]
    assert agent.call("cancelRequest", asked[-1]) is True
    eventually(lambda: engine.running() == 0)
    assert engine.cancelled == len(typed)
    assert agent.call("getStatus") == "ready"


def test_a_server_that_goes_away_shows_as_disconnected(start_agent: StartAgent, serve: Serve) -> None:
    served = ready(serve)
    agent = start_agent(config(served.url))
    agent.call("initialize", {})
    assert agent.call("getStatus") == "ready"
    engine_of(served).healthy = False
    agent.call("updateConfig", "server.requestTimeout", 5000)  # has it look at the server again
    statuses(agent, "disconnected")
