"""LoRA adapters over the real engine: they answer beside their model, and come and go by an administrator's call."""

from __future__ import annotations

import json
import subprocess
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import yaml
from safetensors.torch import save_file

from kodify.settings import NANO_PATH
from tests.conftest import eventually
from tests.integration.conftest import KODIFY, Process, environment, start_kodify

LAYERS, WIDTH, KV_WIDTH = 5, 320, 160  # of the built-in model
NAMES = ("base", "same", "other")
PROMPT = "def read(path):\n    with open(path) as file:\n"


def make_adapter(folder: Path, *, rank: int, scale: float, seed: int = 0) -> Path:
    """Of the built-in model. With a `scale` of 0 it changes nothing."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {}
    for layer in range(LAYERS):
        for name, width in (("q_proj", WIDTH), ("v_proj", KV_WIDTH)):
            place = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{place}.lora_A.weight"] = torch.randn(rank, WIDTH)
            weights[f"{place}.lora_B.weight"] = torch.randn(width, rank) * scale
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@dataclass
class Company:
    process: Process
    folder: Path
    variables: dict[str, str]
    root: str
    user: str

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {token or self.user}"}
        return httpx.Client(base_url=self.process.url, headers=headers, timeout=60)

    def load(self, **body: str) -> httpx.Response:
        with self.client(self.root) as client:
            return client.post("/v1/load_lora_adapter", json=body)

    def unload(self, name: str) -> httpx.Response:
        with self.client(self.root) as client:
            return client.post("/v1/unload_lora_adapter", json={"lora_name": name})

    def names(self) -> list[str]:
        with self.client() as client:
            return [model["id"] for model in client.get("/v1/models").json()["data"]]

    def complete(self, model: str, prompt: str = PROMPT) -> str:
        body = {"model": model, "prompt": prompt, "max_tokens": 24, "temperature": 0, "ignore_eos": True}
        with self.client() as client:
            answer = client.post("/v1/completions", json=body).json()
        assert answer["model"] == model, answer
        text: str = answer["choices"][0]["text"]
        return text


def run(folder: Path, variables: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [KODIFY, *words], env=environment(**variables), cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def company(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("adapters")
    adapters = {
        "same": str(make_adapter(folder / "same", rank=4, scale=0)),
        "other": str(make_adapter(folder / "other", rank=12, scale=0.3)),
    }
    model = {"name": "base", "path": str(NANO_PATH), "adapters": adapters}
    (folder / "config.yml").write_text(
        yaml.safe_dump({"models": [model], "tabby": {"model_name": "other"}}, sort_keys=False)
    )
    table = f"a_{uuid.uuid4().hex[:12]}.people"
    variables = {"MTSAI_AUTH": "true", "AUTH_TYPE": "DB", "DB_URL": postgres, "USERS_TABLE": table}
    process = start_kodify(folder, RUN_MIGRATIONS="1", **variables)
    try:
        process.wait_until_healthy()
        make = ("users", "create", "--days", "1", "--email")
        root = run(folder, variables, *make, "root@example.com", "--privileged").strip()
        user = run(folder, variables, *make, "user@example.com").strip()
        yield Company(process, folder, variables, root, user)
    finally:
        process.stop()


def test_adapters_of_the_configuration_answer_beside_their_model(company: Company) -> None:
    with company.client() as client:
        models = client.get("/v1/models").json()["data"]
    assert [(one["id"], one["parent"]) for one in models] == [("base", None), ("same", "base"), ("other", "base")]
    assert models[2]["root"] == str(company.folder / "other")
    plain, same, other = (company.complete(name) for name in ("base", "same", "other"))
    assert plain == same
    assert plain != other
    assert "adapter   other" in company.process.log.read_text()


def test_requests_to_several_run_together_and_get_what_they_get_alone(company: Company) -> None:
    alone = {(name, prompt): company.complete(name, prompt) for name in ("base", "other") for prompt in (PROMPT, "x =")}
    asked = list(alone) * 4
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda one: company.complete(*one), asked)) == [alone[one] for one in asked]


def test_every_dialect_speaks_through_an_adapter(company: Company) -> None:
    def chat(model: str, **more: Any) -> str:
        messages = [{"role": "user", "content": "Sort a list."}]
        common = {"model": model, "temperature": 0, "messages": messages, "max_tokens": 16, **more}
        with company.client() as client:
            answer = client.post("/v1/chat/completions", json=common)
            if not more.get("stream"):
                said = answer.json()
                assert said["model"] == model
                return str(said["choices"][0]["message"]["content"])
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
            return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)

    def served(model: str, path: str, **body: Any) -> str:
        with company.client() as client:
            answer = client.post(path, json={"model": model, "temperature": 0, **body}).json()
        assert answer["model"] == model, answer
        content = answer["content"] if "content" in answer else answer["output"][0]["content"]
        return str(content[0]["text"])

    def messages(model: str) -> str:
        return served(model, "/v1/messages", max_tokens=16, messages=[{"role": "user", "content": "Sort a list."}])

    def responses(model: str) -> str:
        return served(model, "/v1/responses", input="Sort a list.", max_output_tokens=16)

    for ask in (
        chat,
        messages,
        responses,
        lambda model: chat(model, logprobs=True),
        lambda model: chat(model, stream=True),
    ):
        assert ask("base") == ask("same")
        assert ask("base") != ask("other")
    assert chat("other") == chat("other", stream=True) == messages("other") == responses("other")
    infill = {"input_prefix": PROMPT, "input_suffix": "", "n_predict": 16, "temperature": 0}
    with company.client() as client:
        said = {
            m: client.post("/infill", json={**infill, "model": m}).json()["content"] for m in ("base", "same", "other")
        }
        named = client.post("/infill", json=infill).json()["content"]
        assert client.get("/v1/health").json()["model"] == "other"
    assert said["base"] == said["same"]
    assert named == said["other"]


def test_an_administrator_loads_and_unloads(company: Company) -> None:
    folder = make_adapter(company.folder / "later", rank=12, scale=0.3)
    with company.client() as client:
        assert client.post("/v1/load_lora_adapter", json={"lora_name": "x", "lora_path": "y"}).status_code == 403
        assert client.post("/v1/unload_lora_adapter", json={"lora_name": "other"}).status_code == 403
    loaded = company.load(lora_name="later", lora_path=str(folder), model="base")
    assert loaded.status_code == 200, loaded.text
    assert (loaded.json()["id"], loaded.json()["parent"]) == ("later", "base")
    assert company.names() == ["base", "same", "other", "later"]
    before = company.complete("later")
    assert before == company.complete("other")  # the same weights
    assert company.unload("later").json() == {"id": "later", "object": "model", "deleted": True}
    assert company.names() == ["base", "same", "other"]
    with company.client() as client:
        assert client.post("/v1/completions", json={"model": "later", "prompt": "x"}).status_code == 404
    # Other weights under the same name and path: nothing of the first ones is left in the cache.
    make_adapter(folder, rank=12, scale=0.3, seed=1)
    assert company.load(lora_name="later", lora_path=str(folder)).status_code == 200
    assert company.complete("later") != before
    assert company.unload("later").status_code == 200
    audit = run(company.folder, company.variables, "users", "audit", "--json")
    acts = [(line["actor"], line["act"], line["target"]) for line in map(json.loads, audit.splitlines())]
    assert acts.count(("root@example.com", "load adapter", "later")) == 2
    assert acts.count(("root@example.com", "unload adapter", "later")) == 2


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"lora_name": "other", "lora_path": "{here}/other"}, 409, "served already"),
        ({"lora_name": "base", "lora_path": "{here}/other"}, 409, "served already"),
        ({"lora_name": "x", "lora_path": "{here}/nowhere"}, 400, "no folder here that holds an adapter_config.json"),
        ({"lora_name": "x", "lora_path": "{here}/large"}, 400, "rank 64 is greater than max_lora_rank 16"),
        ({"lora_name": "x", "lora_path": "{here}/broken"}, 400, "can't be loaded"),
        ({"lora_name": "x", "lora_path": "{here}/other", "model": "none"}, 404, "no model none"),
        ({"lora_name": "x", "lora_path": "{here}/other", "model": "other"}, 404, "no model other"),
        ({"lora_name": "a b", "lora_path": "{here}/other"}, 400, "without blanks"),
        ({"lora_name": "", "lora_path": "{here}/other"}, 400, "without blanks"),
        ({"lora_name": 1, "lora_path": "{here}/other"}, 400, "lora_name"),
        ({"lora_name": "x"}, 400, "lora_path"),
    ],
)
def test_what_can_t_be_loaded_is_told_in_a_sentence(
    company: Company, body: dict[str, Any], status: int, words: str
) -> None:
    make_adapter(company.folder / "large", rank=64, scale=0)
    make_adapter(company.folder / "broken", rank=4, scale=0).joinpath("adapter_model.safetensors").write_bytes(b"x" * 9)
    sent = {
        name: value.format(here=company.folder) if isinstance(value, str) else value for name, value in body.items()
    }
    answer = company.load(**sent)
    assert (answer.status_code, words in answer.json()["message"]) == (status, True), answer.text
    assert company.names() == ["base", "same", "other"]
    assert company.complete("base")


def test_what_is_no_adapter_can_t_be_unloaded(company: Company) -> None:
    assert {company.unload(name).status_code for name in ("base", "never")} == {404}


def test_an_adapter_leaves_after_its_last_request(company: Company) -> None:
    folder = make_adapter(company.folder / "leaving", rank=4, scale=0)
    assert company.load(lora_name="leaving", lora_path=str(folder)).status_code == 200
    body = {"model": "leaving", "prompt": PROMPT, "max_tokens": 1500, "temperature": 0, "ignore_eos": True}
    answers: list[httpx.Response] = []
    unloading = threading.Thread(target=lambda: answers.append(company.unload("leaving")))
    with company.client() as client, client.stream("POST", "/v1/completions", json={**body, "stream": True}) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("data: {")
        unloading.start()
        eventually(lambda: "leaving" not in company.names())
        assert not answers  # it waits for the stream
        told = list(lines)
    assert "data: [DONE]" in told
    assert sum(line.startswith("data: {") for line in told) > 1000
    unloading.join(30)
    assert answers[0].status_code == 200
