"""configs/ide: each file is read as its editor reads it, and what it leads to is there and takes the token."""

from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from typer.main import get_command

from kodify.actions import Actions
from kodify.cli import app
from kodify.engine.scripted import Script
from tests.conftest import Serve, eventually
from tests.integration.ide.agent import LineAgent
from tests.integration.ide.conftest import StartAgent

FOLDER = Path(__file__).parents[3] / "configs" / "ide"
HOST = "https://kodify.example.com"
TOKEN = "kdf_…"
ASCII_TOKEN = "kdf_of-the-tests"

Asked = tuple[str, str, str, dict[str, Any]]  # address, token, model, body
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}
HOLE: dict[str, Any] = {"input_prefix": "x", "input_suffix": "y"}


def read_jsonc(text: str) -> Any:
    return json.loads(re.sub(r"(?m)(^|\s)//[^\n]*$", "", text))


def llama_vscode(text: str) -> list[Asked]:
    said = {name.removeprefix("llama-vscode."): value for name, value in read_jsonc(text).items()}
    chat = f"/{said['ai_api_version']}/chat/completions"
    return [
        (said["endpoint"] + "/infill", said["api_key"], "", HOLE),
        (said["endpoint_chat"] + chat, said["api_key_chat"], said["ai_model"], CHAT),
        (said["endpoint_tools"] + chat, said["api_key_tools"], said["ai_model"], CHAT),
    ]


def llama_vim(text: str) -> list[Asked]:
    said = dict(re.findall(r"(?m)^ +\\ '(\w+)': '([^']*)',$", text))
    key = said["api_key"]
    return [(said["endpoint_fim"], key, "", HOLE), (said["endpoint_inst"], key, "", {**CHAT, "model": ""})]


def continue_(text: str) -> list[Asked]:
    asked = []
    said = yaml.safe_load(text)
    assert [prompt["name"] for prompt in said["prompts"]] == Actions().names()
    for prompt in said["prompts"]:
        assert prompt["description"]
        asked.append((f"{HOST}/v1/chat/completions", TOKEN, "coder", {"messages": _user(prompt["prompt"])}))
    for model in said["models"]:
        assert model["provider"] == "openai"
        path, body = ("/chat/completions", CHAT)
        if model["roles"] == ["autocomplete"]:
            template = model["promptTemplates"]["autocomplete"]
            prompt = template.replace("{{{prefix}}}", "x").replace("{{{suffix}}}", "y")
            options = model["defaultCompletionOptions"]
            path, body = ("/completions", {"prompt": prompt, "stop": options["stop"], "max_tokens": 64, "stream": True})
        asked.append((model["apiBase"] + path, model["apiKey"], model["model"], body))
    return asked


def zed(text: str) -> list[Asked]:
    said = read_jsonc(text)
    provider = said["language_models"]["openai_compatible"]["Kodify"]
    (model,) = provider["available_models"]
    assert said["agent"]["default_model"] == {"provider": "Kodify", "model": model["name"]}
    edits = said["edit_predictions"][said["edit_predictions"]["provider"]]
    body = {"prompt": "x", "max_tokens": edits["max_output_tokens"], "stop": ["<|endoftext|>"]}
    return [
        (provider["api_url"] + "/chat/completions", TOKEN, model["name"], {**CHAT, "stream": True}),
        (edits["api_url"], TOKEN, edits["model"], body),
    ]


def zed_tasks(text: str) -> list[Asked]:
    command: Any = get_command(app)
    named = set()
    for task in read_jsonc(text):
        assert task["command"] == "kodify"
        name, *words = task["args"]
        named.add(name)
        places = [word.replace("$ZED_RELATIVE_FILE", "a.py").replace("$ZED_ROW", "3") for word in words]
        assert command.commands[name].make_context(name, places)
    assert named == set(Actions().names())
    return []


def zed_rules(text: str) -> list[Asked]:
    rules = re.split(r"(?m)^# (.+)\n", text)[1:]
    assert rules[::2] == Actions().names()
    return [(f"{HOST}/v1/chat/completions", TOKEN, "coder", {"messages": _user(rule)}) for rule in rules[1::2]]


def _user(text: str) -> list[dict[str, str]]:
    assert len(text) > 100
    return [{"role": "user", "content": text}]


def tabby_vscode(text: str) -> list[Asked]:
    return [(read_jsonc(text)["tabby.endpoint"] + "/v1/health", TOKEN, "", {})]


def tabby_jetbrains(text: str) -> list[Asked]:
    options = {option.get("name"): option.get("value") for option in ElementTree.fromstring(text).iter("option")}
    return [(f"{options['serverEndpoint']}/v1/health", TOKEN, "", {})]


def tabby_agent(text: str) -> list[Asked]:
    said = tomllib.loads(text)
    assert said["anonymousUsageTracking"] == {"disable": True}
    return [(said["server"]["endpoint"] + "/v1/health", said["server"]["token"], "", {})]


def tabby_lua(text: str) -> list[Asked]:
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    assert all(re.fullmatch(r'vim\.g\.tabby_\w+ = (".+"|\{ ".+" \})', line) for line in lines)
    return []


READERS: dict[str, Callable[[str], list[Asked]]] = {
    "continue.yaml": continue_,
    "llama-vscode.json": llama_vscode,
    "llama.vim": llama_vim,
    "tabby-agent.toml": tabby_agent,
    "tabby-jetbrains.xml": tabby_jetbrains,
    "tabby-vscode.json": tabby_vscode,
    "tabby.lua": tabby_lua,
    "zed-rules.md": zed_rules,
    "zed-tasks.json": zed_tasks,
    "zed.json": zed,
}


def test_no_file_is_left_out() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_what_a_file_leads_to_is_there(serve: Serve, name: str) -> None:
    served = serve(Script(), VLLM_API_KEY=SecretStr(ASCII_TOKEN))
    eventually(lambda: bool(served.app.state.ready))
    with served.client() as client:
        for address, token, model, body in READERS[name]((FOLDER / name).read_text()):
            assert address.startswith(HOST + "/"), address
            assert (token, model) in ((TOKEN, ""), (TOKEN, "coder"))
            url = served.url + address.removeprefix(HOST)
            body = {**body, "model": "scripted"} if model else body
            refused = client.post(url, json=body, headers={"authorization": "Bearer another"})
            answer = client.post(url, json=body, headers={"authorization": f"Bearer {ASCII_TOKEN}"})
            assert (refused.status_code, answer.status_code) == (401, 200), (address, answer.text)


def test_the_agent_takes_its_file(serve: Serve, start_agent: StartAgent) -> None:
    served = serve(Script(), VLLM_API_KEY=SecretStr(ASCII_TOKEN))
    eventually(lambda: bool(served.app.state.ready))
    config = (FOLDER / "tabby-agent.toml").read_text().replace(HOST, served.url).replace(TOKEN, ASCII_TOKEN)
    agent: LineAgent = start_agent(config)
    agent.call("initialize", {})
    assert agent.call("getStatus") == "ready"
    assert agent.call("getConfig")["anonymousUsageTracking"] == {"disable": True}
