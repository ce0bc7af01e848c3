"""One server for the dialects that vLLM speaks: with tools, a token and a journal."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
import psycopg
import pytest
from pydantic import SecretStr

from tests.conftest import eventually
from tests.integration.conftest import Process, start_kodify
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

    def running(self) -> int:
        return int(httpx.get(f"{self.process.url}/ready").json()["running"])

    def leave(self, path: str, body: dict[str, Any], *, after: str | None) -> dict[str, Any]:
        """The row of a request whose client leaves when it has read `after`; None: when the engine works on it."""
        request_id = uuid.uuid4().hex
        with self.client() as client:
            if after is None:
                with pytest.raises(httpx.ReadTimeout):
                    client.post(path, json=body, headers={"x-request-id": request_id}, timeout=0.5)
            else:
                with client.stream("POST", path, json=body, headers={"x-request-id": request_id}) as answer:
                    lines = answer.iter_lines()  # held: the client leaves when it is let go
                    assert any(after in line for line in lines)
                    assert self.running() == 1
        eventually(lambda: self.running() == 0, 2)
        return self.row(request_id)


@pytest.fixture(scope="session")
def spoken(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoken]:
    folder = tmp_path_factory.mktemp("spoken")
    place = make_place(postgres, folder)
    variables = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in place.variables.items()
    }
    arguments = "--enable-auto-tool-choice --tool-call-parser hermes"
    process = start_kodify(folder, ADDITIONAL_ARGS=arguments, VLLM_API_KEY=TOKEN, **variables)
    try:
        process.wait_until_healthy()
        yield Spoken(process, place)
    finally:
        process.stop()
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{place.variables["LOGS_DB_NAME"]}" WITH (FORCE)')
