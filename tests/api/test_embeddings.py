"""`POST /v1/embeddings` on an embedder that says what it is told."""

from __future__ import annotations

import base64
import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest

from kodify.censor.censor import TEXTS_AT_ONCE
from kodify.config_file import CensorEntry, ConfigFile
from kodify.engine.scripted import ScriptedEmbedder
from kodify.engines import Engines, Served
from kodify.errors import EngineFailedError, UnavailableError
from kodify.settings import Settings
from tests import conftest
from tests.api import test_censor as censors
from tests.api.test_censor import WORD, Moderator
from tests.api.test_errors import assert_error
from tests.conftest import eventually, leave
from tests.journal.conftest import Place, make_place

moderator = censors.moderator

PATH = "/v1/embeddings"
MODEL = "scripted-embedder"
Start = Callable[..., conftest.Served]


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """start(embedder, MAX_N=…): an app that embeds."""
    with contextlib.ExitStack() as stack:

        def serve(embedder: ScriptedEmbedder | None = None, **variables: object) -> conftest.Served:
            given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
            own = settings.model_copy(update={given[k]: v for k, v in variables.items()})
            engines = Engines([Served(embedder or ScriptedEmbedder(), task="embed")])
            served = stack.enter_context(conftest.serving(own, engines))
            eventually(lambda: bool(served.app.state.ready))
            return served

        yield serve


@pytest.fixture
def client(start: Start) -> Iterator[httpx.Client]:
    with start().client() as found:
        yield found


def embedder_of(served: conftest.Served) -> ScriptedEmbedder:
    return cast(ScriptedEmbedder, cast(Engines, served.engine).all[0].engine)


def test_the_documented_answer(client: httpx.Client) -> None:
    answer = client.post(PATH, json={"text": ["Тестовый запрос"]})
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    (one,) = body["data"]
    assert body == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": one["embedding"]}],
        "model": MODEL,
        "usage": {"prompt_tokens": 15, "total_tokens": 15},
    }
    assert one["embedding"] == pytest.approx([15 / 7, 0, 0.1, 0.1])


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a text", ["a text"]),
        (["one", "two"], ["one", "two"]),
        ([5, 6, 7], [[5, 6, 7]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
        (["x" * i for i in range(1, 2049)], ["x" * i for i in range(1, 2049)]),
    ],
    ids=["text", "texts", "tokens", "lists of tokens", "the most"],
)
@pytest.mark.parametrize("field", ["input", "text"])
def test_every_form_of_input(start: Start, field: str, given: Any, inputs: list[Any]) -> None:
    served = start(ScriptedEmbedder(context_tokens=4096))
    with served.client() as client:
        body = client.post(PATH, json={"model": MODEL, field: given, "user": "me"}).json()
    assert embedder_of(served).asked == [(inputs, None)]
    assert [one["index"] for one in body["data"]] == list(range(len(inputs)))
    assert [one["embedding"][0] for one in body["data"]] == pytest.approx([len(one) / 7 for one in inputs])
    assert body["usage"]["prompt_tokens"] == sum(map(len, inputs))


@pytest.mark.parametrize("size", [3, 70_000], ids=["small", "written in several pieces"])
def test_base64_is_the_same_numbers(start: Start, size: int) -> None:
    with start(ScriptedEmbedder(size=size)).client() as client:
        plain, packed = (
            client.post(PATH, json={"input": ["a", "bb", "ccc"], "encoding_format": form}).json()["data"]
            for form in ("float", "base64")
        )
    for one, other in zip(plain, packed, strict=True):
        assert one["index"] == other["index"]
        assert struct.pack(f"<{size}f", *one["embedding"]) == base64.b64decode(other["embedding"])


def test_dimensions_reach_the_engine(start: Start) -> None:
    served = start()
    with served.client() as client:
        body = client.post(PATH, json={"input": "a", "dimensions": 2}).json()
    assert embedder_of(served).asked == [(["a"], 2)]
    assert len(body["data"][0]["embedding"]) == 2


def test_the_official_client(start: Start) -> None:
    """It asks for base64 by itself."""
    served = start()
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as sdk:
        found = sdk.embeddings.create(model=MODEL, input=["a", "bb"])
    assert [struct.pack("<4f", *one.embedding) for one in found.data] == rows("a", "bb")
    assert found.usage.prompt_tokens == 3


def rows(*texts: str) -> list[bytes]:
    return [struct.pack("<4f", len(text) / 7, index / 3, 0.1, 0.1) for index, text in enumerate(texts)]


MISSING = str([{"type": "missing", "loc": ("body", "input"), "msg": "Field required", "input": {"model": MODEL}}])


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({}, "input", MISSING),
        ({"input": ""}, "input", "input must not be empty."),
        ({"input": []}, "input", "input must not be empty."),
        ({"input": ["a", ""]}, "input", "input must not be empty."),
        ({"text": [[]]}, "text", "text must not be empty."),
        ({"input": ["a", [1]]}, "input", "input must be texts, or lists of token ids, not both."),
        ({"input": [1, "a"]}, "input", "input must be texts, or lists of token ids, not both."),
        ({"input": ["a"] * 2049}, "input", "input must have at most 2048 items, got 2049."),
        ({"input": 5}, "input", "input: Expected `str | array | null`, got `int`."),
        ({"input": [1.5]}, "input[0]", "input[0]: Expected `int | str | array`, got `float`."),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "encoding_format: Invalid enum value 'hex'."),
        ({"input": "a", "dimensions": "2"}, "dimensions", "dimensions: Expected `int | null`, got `str`."),
    ],
    ids=str,
)
def test_what_is_no_request(client: httpx.Client, fields: dict[str, Any], param: str, message: str) -> None:
    answer = client.post(PATH, json={"model": MODEL, **fields})
    assert assert_error(answer, 400, "BadRequestError", message)["param"] == param


def test_an_unknown_model_and_an_engine_that_fails(start: Start) -> None:
    with start(ScriptedEmbedder(error=EngineFailedError())).client() as client:
        answer = client.post(PATH, json={"model": "other", "input": "a"})
        assert_error(answer, 404, "NotFoundError", 'The model "other" does not exist.')
        assert_error(client.post(PATH, json={"input": "a"}), 500, "InternalServerError")


def test_the_work_ends_when_the_client_leaves(start: Start) -> None:
    served = start(ScriptedEmbedder(endless=True))
    embedder = embedder_of(served)
    leave(served.url, PATH, {"input": "a"}, lambda: embedder.running() == 1)
    eventually(lambda: embedder.cancelled == 1)
    assert embedder.running() == 0
    with served.client() as client:
        eventually(lambda: "kodify_requests_cancelled_total 1.0" in client.get("/metrics").text)


@pytest.fixture
def place(postgres: str, tmp_path: Path) -> Place:
    return make_place(postgres, tmp_path)


def test_the_journal_keeps_it(start: Start, place: Place) -> None:
    served = start(**place.variables)
    asked = {"text": ["one", "three"]}
    with served.client() as client:
        answer = client.post(PATH, json=asked).json()
        client.post(PATH, json={"model": MODEL, "input": []})
    eventually(lambda: place.count() == 2)
    kept, refused = place.rows()
    assert (kept["type"], kept["status_code"], kept["model"]) == (f"POST {PATH}", 200, MODEL)
    assert (kept["request"], kept["response"], kept["prompt_tokens"]) == (asked, answer, 8)
    assert (refused["status_code"], refused["model"], refused["prompt_tokens"]) == (400, MODEL, None)


def test_the_journal_knows_who_left(start: Start, place: Place) -> None:
    served = start(ScriptedEmbedder(endless=True), **place.variables)
    leave(served.url, PATH, {"input": "a"}, lambda: embedder_of(served).running() == 1)
    eventually(lambda: place.count() == 1)
    (row,) = place.rows()
    assert (row["status_code"], row["cancelled"], row["response"]) == (499, True, None)


@pytest.fixture
def censored(start: Start, settings: Settings) -> Start:
    """censored(patterns=[…]): an app that embeds, with a censor."""

    def serve(embedder: ScriptedEmbedder | None = None, **censor: Any) -> conftest.Served:
        settings._file = ConfigFile(censor=CensorEntry(**censor))
        return start(embedder)

    return serve


@pytest.mark.parametrize("kind", ["patterns", "url"])
def test_every_text_is_checked_before_it_is_embedded(censored: Start, moderator: Moderator, kind: str) -> None:
    served = censored(**({"patterns": [WORD]} if kind == "patterns" else {"url": moderator.url}))
    texts = [f"text {number}" for number in range(100)]
    with served.client() as client:
        assert len(client.post(PATH, json={"input": texts}).json()["data"]) == 100
        assert embedder_of(served).asked == [(texts, None)]
        for given, place in ((f"the {WORD}", "input"), ([*texts, f"the {WORD}", *texts], "input[100]")):
            answer = client.post(PATH, json={"input": given})
            message = f"{place} is not embedded: the censor has flagged it."
            assert assert_error(answer, 400, "BadRequestError", message)["param"] == place
    assert len(embedder_of(served).asked) == 1
    if kind == "url":
        assert sorted(text for _, text in moderator.asked[:100]) == sorted(texts)


def test_many_texts_are_asked_about_at_once_but_not_all(censored: Start, moderator: Moderator) -> None:
    moderator.silent = True
    served = censored(url=moderator.url, timeout_s=60)

    def are_asked_about() -> bool:
        if len(moderator.asked) < TEXTS_AT_ONCE:
            return False
        time.sleep(0.5)  # in which more would come
        return True

    leave(served.url, PATH, {"input": ["a"] * 100}, are_asked_about)
    assert len(moderator.asked) == TEXTS_AT_ONCE
    with served.client() as client:
        eventually(lambda: "kodify_requests_cancelled_total 1.0" in client.get("/metrics").text)
    assert embedder_of(served).asked == []


def test_what_can_not_be_checked_is_not_embedded(censored: Start) -> None:
    served = censored(url="http://127.0.0.1:9/")
    with served.client() as client:
        answer = client.post(PATH, json={"text": [[5, 6]]})
        assert (
            assert_error(answer, 400, "BadRequestError", "text can't be checked: send it as text.")["param"] == "text"
        )
        answer = client.post(PATH, json={"input": ["a"] * 40})
        assert_error(answer, 503, "ServiceUnavailableError", UnavailableError.default_message)
        assert "retry-after" in answer.headers
    assert embedder_of(served).asked == []


@pytest.mark.parametrize(
    "censor",
    [{"patterns": [WORD], "check": "answers"}, {"url": "http://127.0.0.1:9/", "open_on_failure": True}],
    ids=["answers alone are checked", "open on failure"],
)
def test_a_censor_that_lets_it_through(censored: Start, censor: dict[str, Any]) -> None:
    served = censored(**censor)
    with served.client() as client:
        assert client.post(PATH, json={"input": f"the {WORD}"}).status_code == 200
        assert client.post(PATH, json={"input": [5, 6]}).status_code == (200 if "check" in censor else 400)
