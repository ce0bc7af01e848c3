"""Servers that several files ask: one for the dialects that vLLM speaks, with tools, a token and a journal; one whose
models say what they are told."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import psycopg
import pytest

from kodify.settings import NANO_PATH
from tests.conftest import eventually, leave
from tests.integration.conftest import Process, start_kodify
from tests.integration.server.stories import FAMILIES, SCRIPT_VARIABLE, script
from tests.journal.conftest import Place, make_place

TOKEN = "sesame"


@dataclass
class Spoken:
    process: Process
    place: Place

    def client(self, token: str = TOKEN) -> httpx.Client:
        return httpx.Client(base_url=self.process.url, headers={"x-api-key": token}, timeout=120)

    def openai(self, token: str = TOKEN) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.process.url}/v1", api_key=token, max_retries=0, timeout=120)

    def anthropic(self, token: str = TOKEN) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.process.url, api_key=token, max_retries=0, timeout=120)

    def row(self, request_id: str) -> dict[str, Any]:
        """The journal's, when it is there."""
        query = "SELECT * FROM journal WHERE request_id = %s"
        eventually(lambda: bool(self.place.rows(query, request_id)))
        (found,) = self.place.rows(query, request_id)
        return found

    def headers(self, request_id: str) -> dict[str, str]:
        return {"x-api-key": TOKEN, "x-request-id": request_id}

    def running(self) -> int:
        return int(httpx.get(f"{self.process.url}/ready").json()["running"])

    def leave(self, path: str, body: dict[str, Any], *, after: str | None) -> dict[str, Any]:
        """The row of a request whose client leaves when it has read `after`; None: when the engine works on it."""
        request_id = uuid.uuid4().hex
        if after is None:
            leave(self.process.url, path, body, lambda: self.running() == 1, **self.headers(request_id))
        else:
            with (
                self.client() as client,
                client.stream("POST", path, json=body, headers=self.headers(request_id)) as answer,
            ):
                lines = answer.iter_lines()  # held: the client leaves when it is let go
                assert any(after in line for line in lines)
                assert self.running() == 1
        eventually(lambda: self.running() == 0)
        return self.row(request_id)


@pytest.fixture(scope="session")
def spoken(request: pytest.FixtureRequest, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoken]:
    if any("families" in item.fixturenames for item in request.session.items if isinstance(item, pytest.Function)):
        request.getfixturevalue("families_started")  # loads while this one does, and while its tests run
    folder = tmp_path_factory.mktemp("spoken")
    place = make_place(postgres, folder)
    arguments = "--enable-auto-tool-choice --tool-call-parser hermes"
    process = start_kodify(folder, ADDITIONAL_ARGS=arguments, VLLM_API_KEY=TOKEN, **place.environment)
    try:
        process.wait_until_healthy()
        yield Spoken(process, place)
    finally:
        process.stop()
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{place.variables["LOGS_DB_NAME"]}" WITH (FORCE)')


@pytest.fixture(scope="session")
def families(families_started: Process) -> Process:
    """A model for each family, of that name, which says its stories in that family's words."""
    families_started.wait_until_healthy()
    return families_started


@pytest.fixture(scope="session")
def families_started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("families")
    told = folder / "script.json"
    told.write_text(json.dumps({name: script(name) for name in FAMILIES}), encoding="utf-8")
    executor = "--distributed-executor-backend tests.integration.server.scripted_executor.ScriptedExecutor"
    models = []
    for name in FAMILIES:
        tokenizer = f"--tokenizer {_llama_tokenizer(folder)}" if name == "llama3_json" else ""
        arguments = f"--enable-auto-tool-choice --tool-call-parser {name} {executor} {tokenizer}"
        models.append({"name": name, "path": str(NANO_PATH), "args": arguments})
    (folder / "config.yml").write_text(json.dumps({"models": models}))
    process = start_kodify(folder, PYTHONPATH=str(Path(__file__).parents[3]), **{SCRIPT_VARIABLE: str(told)})
    try:
        yield process
    finally:
        process.stop()


def _llama_tokenizer(folder: Path) -> Path:
    """The built-in model's, with the token that the parser of Llama's calls asks for."""
    own = folder / "tokenizer"
    own.mkdir()
    for path in (*NANO_PATH.glob("tokenizer*.json"), *NANO_PATH.glob("*.jinja")):
        (own / path.name).write_text(path.read_text(encoding="utf-8").replace("<|fim_pad|>", "<|python_tag|>"))
    return own
