"""Embeddings of other servers: what is asked of them, and the forms that they answer in."""

from __future__ import annotations

import base64
import contextlib
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from starlette.responses import JSONResponse

from kodify.configured import build_upstreams
from kodify.engine.scripted import ScriptedEmbedder
from kodify.engine.upstream import UpstreamEngine
from kodify.engine.upstream_embed import UpstreamEmbedder
from kodify.engine.upstream_pool import UpstreamOptions
from kodify.engines import Engines, Served
from kodify.settings import Settings
from tests import conftest
from tests.api import test_upstreams
from tests.api.test_upstreams import Puppet, Start
from tests.conftest import eventually, leave

PATH = "/v1/embeddings"
ASK: dict[str, Any] = {"model": "m", "input": ["a", "bc"]}
ROWS = [[0.5, -1.0, 2.0], [1.5, 0.0, -0.25]]

puppet = test_upstreams.puppet
Front = Callable[..., conftest.Served]


@pytest.fixture
def front(settings: Settings) -> Iterator[Front]:
    """Kodify before servers that embed."""
    with contextlib.ExitStack() as stack:

        def start(*upstreams: Puppet | UpstreamOptions) -> conftest.Served:
            options = [one if isinstance(one, UpstreamOptions) else UpstreamOptions(one.url) for one in upstreams]
            engines = Engines([Served(UpstreamEmbedder(options), task="embed")])
            served = stack.enter_context(conftest.serving(settings, engines))
            eventually(lambda: bool(served.app.state.ready))
            return served

        yield start


def said(rows: list[Any], **usage: int) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return {"object": "list", "data": data, "model": "m", **({"usage": usage} if usage else {})}


def packed(row: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()


def embedding(start: Start, answer: dict[str, Any]) -> Puppet:
    made = start()
    made.whole = answer
    return made


SHUFFLED = said(ROWS, prompt_tokens=7)
SHUFFLED["data"].reverse()
ANSWERS = {
    "base64": (said([packed(row) for row in ROWS], prompt_tokens=7, total_tokens=7), 7),
    "numbers": (said(ROWS, prompt_tokens=7), 7),
    "shuffled": (SHUFFLED, 7),
    "a sum alone": (said(ROWS, total_tokens=7), 7),
    "nothing of tokens": (said(ROWS), 0),
}


@pytest.mark.parametrize(("answer", "tokens"), ANSWERS.values(), ids=ANSWERS)
def test_the_forms_of_an_answer(puppet: Start, front: Front, answer: dict[str, Any], tokens: int) -> None:
    with front(embedding(puppet, answer)).client() as client:
        found = client.post(PATH, json=ASK).json()
    assert [one["embedding"] for one in found["data"]] == ROWS
    assert found["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert found["model"] == "m"


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"input": "a"}, {"input": ["a"]}),
        ({"input": [5, 6], "dimensions": 2}, {"input": [[5, 6]], "dimensions": 2}),
        ({"input": ["a"], "encoding_format": "float", "user": "u"}, {"input": ["a"]}),
    ],
)
def test_what_is_sent(puppet: Start, front: Front, asked: dict[str, Any], sent: dict[str, Any]) -> None:
    other = embedding(puppet, said(ROWS[:1], prompt_tokens=1))
    served = front(UpstreamOptions(other.url, api_key="secret"))
    with served.client(authorization="Bearer mine") as client:
        for model in ({}, {"model": "m"}):
            assert client.post(PATH, json={**asked, **model}).status_code == 200
    assert other.bodies == [{"model": "m", "encoding_format": "base64", **sent}] * 2
    assert {headers["authorization"] for headers in other.headers} == {"Bearer secret"}


@pytest.mark.parametrize(
    "answer",
    [said(ROWS[:1]), said([ROWS[0], ROWS[1][:2]]), said(["%", "%"]), {"data": 5}, said([packed(ROWS[0]), "AAA="])],
    ids=["too few", "of two lengths", "no base64", "no list", "half a number"],
)
def test_what_can_not_be_read_is_an_error(puppet: Start, front: Front, answer: dict[str, Any]) -> None:
    with front(embedding(puppet, answer)).client() as client:
        assert client.post(PATH, json=ASK).status_code == 500


REFUSALS = [
    (400, {"error": {"message": "too long", "param": "input", "code": 400}}, 400, "too long"),
    (404, {"detail": "Not Found"}, 404, 'The model "m" is not served at /v1/embeddings.'),
    (429, {"error": {"message": "slow down"}}, 429, "slow down"),
    (500, {"error": {"message": "a trace"}}, 500, "The engine failed to complete the request."),
]


@pytest.mark.parametrize(("status", "body", "answered", "message"), REFUSALS)
def test_what_an_upstream_refuses(
    puppet: Start, front: Front, status: int, body: dict[str, Any], answered: int, message: str
) -> None:
    other = puppet()
    other.refusal = lambda: JSONResponse(body, status)
    with front(other).client() as client:
        answer = client.post(PATH, json=ASK)
    assert (answer.status_code, answer.json()["message"]) == (answered, message)


def test_one_that_dies_is_replaced(puppet: Start, front: Front) -> None:
    first, second = embedding(puppet, said(ROWS)), embedding(puppet, said(ROWS))
    first.held = 0
    with front(first, second).client() as client, ThreadPoolExecutor() as threads:
        waiting = threads.submit(client.post, PATH, json=ASK)
        eventually(lambda: first.running == 1)
        first.die()
        assert [one["embedding"] for one in waiting.result(30).json()["data"]] == ROWS


def test_a_client_that_leaves_stops_the_upstream(puppet: Start, front: Front) -> None:
    other = embedding(puppet, said(ROWS))
    other.held = 0
    served = front(other)
    leave(served.url, PATH, ASK, lambda: other.running == 1)
    eventually(lambda: other.left == 1)
    embedder: Any = served.app.state.engines.all[0].engine
    eventually(lambda: embedder.running() == 0)


def test_one_kodify_behind_another(settings: Settings, front: Front) -> None:
    """With two models, of which each is asked by its name."""
    embedders = [ScriptedEmbedder(("small",), size=3), ScriptedEmbedder(("large",), size=6)]
    with conftest.serving(settings, Engines([Served(one, task="embed") for one in embedders])) as behind:
        eventually(lambda: bool(behind.app.state.ready))
        with behind.client() as directly, front(UpstreamOptions(behind.url)).client() as client:
            for body in ({**ASK, "model": "large"}, {**ASK, "model": "small"}, {"input": [[5, 6, 7]], "dimensions": 2}):
                assert client.post(PATH, json=body).json() == directly.post(PATH, json=body).json()
            refused = client.post(PATH, json={**ASK, "model": "other"})
            assert (refused.status_code, refused.json()["param"]) == (404, "model")
            told = client.get("/v1/models").json()["data"]
            assert [(one["id"], one["task"]) for one in told] == [("small", "embed"), ("large", "embed")]
    assert [len(embedder.asked) for embedder in embedders] == [4, 2]


def test_one_server_for_both_tasks(puppet: Start, settings: Settings) -> None:
    """Its models of each task have an entry; its counts are told apart."""
    other = embedding(puppet, said(ROWS))
    engines = Engines(
        [
            Served(UpstreamEngine([UpstreamOptions(other.url)])),
            Served(UpstreamEmbedder([UpstreamOptions(other.url)]), task="embed"),
        ]
    )
    with conftest.serving(settings, engines) as served, served.client() as client:
        eventually(lambda: bool(served.app.state.ready))
        assert client.post("/v1/chat/completions", json=test_upstreams.HI).status_code == 200
        assert client.post(PATH, json=ASK).status_code == 200
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = [one for family in families for one in family.samples if one.name == "kodify_upstream_requests_total"]
    assert {one.labels["task"]: one.value for one in samples} == {"generate": 1, "embed": 1}
    assert len(samples) == 2


def test_entries_of_the_configuration(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "upstreams:\n"
        "  http://a:1: {models: [chat]}\n"
        "  http://b:2: {task: embed, api_key: secret, models: [vectors]}\n"
        "  http://c:3: {task: embed}\n"
    )
    monkeypatch.setenv("CONFIG", str(path))
    loaded = Settings.load()
    assert [one.task for one in loaded.file.upstreams] == ["generate", "embed", "embed"]
    assert loaded.file.upstreams[1].api_key == SecretStr("secret")
    served = list(build_upstreams(loaded, has_models=True))
    assert [(one.task, one.required) for one in served] == [("generate", False), ("embed", False)]
    labels = [[upstream.label for upstream in one.engine.pool.all] for one in served]  # type: ignore[union-attr]
    assert labels == [["http://a:1"], ["http://b:2", "http://c:3"]]
    assert [one.required for one in build_upstreams(loaded, has_models=False)] == [True, True]
