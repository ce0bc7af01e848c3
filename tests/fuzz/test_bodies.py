"""Mutated bodies through every route that takes one: no 5xx, one error shape, and the server goes on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from random import Random

import httpx
import pytest
from starlette.routing import Route

from kodify.app import ROUTES
from kodify.settings import Settings
from tests.api.test_errors import assert_error
from tests.auth.test_users import found_company
from tests.conftest import Serve, Served, eventually, serving
from tests.fuzz import mutations
from tests.fuzz.answers import complaint, frames
from tests.fuzz.strict import strict_engines

ROUNDS = 60


def test_every_route_that_takes_a_body_has_some() -> None:
    posted = {route.path for route in ROUTES if isinstance(route, Route) and "POST" in (route.methods or ())}
    assert posted == {*mutations.JSON_BODIES, *mutations.FORM_BODIES, *SAME_AS}


# Routes whose bodies are read by another's handler, or not at all.
SAME_AS = {"/v1beta/chat/completions", "/v1/health", "/api/v1/chat/{chat_id}/stop"}


def send(client: httpx.Client, requests: Iterable[mutations.Request]) -> Counter[int]:
    statuses: Counter[int] = Counter()
    for path, body, kind in requests:
        answer = client.post(path, content=body, headers=mutations.PAGE | ({"content-type": kind} if kind else {}))
        wrong = complaint(answer.status_code, answer.headers.get("content-type", ""), answer.content)
        assert wrong is None, f"POST {path} {kind} {body[:2000]!r}: {wrong}"
        assert answer.status_code < 500
        statuses[answer.status_code] += 1
    return statuses


def is_well(served: Served, client: httpx.Client) -> bool:
    return client.get("/health").status_code == 200 and client.get("/ready").json()["running"] == 0


@pytest.fixture
def own(settings: Settings, chats: dict[str, object]) -> Settings:
    return settings.model_copy(update={name.lower(): value for name, value in chats.items()})


def test_well_formed_bodies_are_answered(own: Settings) -> None:
    """What is mutated below is right to begin with."""
    with serving(own, strict_engines()) as served, served.client(**mutations.PAGE) as client:
        eventually(lambda: bool(served.app.state.ready))
        for path, bodies in mutations.JSON_BODIES.items():
            admin = "adapter" in path or "/admin/" in path or path == "/api/v1/collections"
            missing = path.startswith("/api/v1/collections/") or "send_message" in path
            expected = 403 if admin else 404 if missing else 200
            answers = [client.post(mutations.ADDRESSES.get(path, path), json=body) for body in bodies]
            assert [answer.status_code for answer in answers] == [expected] * len(bodies), (path, answers[-1].text)


def test_a_kind_of_model_that_is_not_served_is_not_found(serve: Serve) -> None:
    """Not 503, after which clients would try again."""
    served = serve()
    eventually(lambda: bool(served.app.state.ready))
    with served.client() as client:
        answer = client.post("/v1/embeddings", json={"input": "hi"})
    assert complaint(answer.status_code, answer.headers["content-type"], answer.content) is None
    assert answer.status_code == 404


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=edge"])
def test_a_form_that_cant_be_read_is_422(serve: Serve, kind: str) -> None:
    served = serve()
    with served.client() as client:
        answer = client.post("/token", content=b"no form", headers={"content-type": kind})
    assert_error(answer, 422, "UnprocessableEntityError")


@pytest.mark.parametrize("seed", range(2))
def test_mutated_bodies(own: Settings, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    random = Random(seed)
    with serving(own, strict_engines()) as served, served.client() as client:
        eventually(lambda: bool(served.app.state.ready))
        with caplog.at_level(logging.ERROR):
            statuses = send(client, (one for _ in range(ROUNDS // 2) for one in mutations.requests(random)))
        eventually(lambda: is_well(served, client))
    assert not caplog.records
    assert statuses[200] > 50
    assert statuses[400] > 200


def test_mutated_forms_of_an_administrator(serve: Serve, users: dict[str, object]) -> None:
    random = Random(2)
    company = found_company(serve, users)
    with company.root() as client:
        requests = (one for _ in range(25) for one in mutations.requests(random))
        statuses = send(client, (one for one in requests if one[0] in mutations.FORM_BODIES))
        assert client.get("/users/me").status_code == 200
    assert statuses[422] > 30
    assert statuses[200] > 10


@pytest.mark.parametrize(
    "stream", [b"data: {}", b"data: {}\n\ndata: a\rb\n\n", b"event: x\n\n", b"data: a\nb\n\n", b"data: a\ndata: b\n\n"]
)
def test_a_stream_out_of_form_is_noticed(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        list(frames(stream))


@pytest.mark.parametrize(
    ("status", "media", "body"),
    [
        (500, "application/json", b"{}"),
        (400, "application/json", b"{}"),
        (400, "text/plain", b"no"),
        (200, "application/json", b"{"),
        (200, "text/event-stream", b'data: {"code":500}\n\n'),
    ],
)
def test_an_answer_out_of_form_is_noticed(status: int, media: str, body: bytes) -> None:
    assert complaint(status, media, body) is not None
