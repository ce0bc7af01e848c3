"""What browsers are told."""

from __future__ import annotations

import httpx
import pytest

from kodify import verdicts
from kodify.api.browser import page
from kodify.settings import Settings
from tests.api.test_errors import assert_error
from tests.conftest import Serve, free_port

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
HERE, ELSEWHERE = "https://ide.example.com", "https://evil.example.com"


def ask_first(client: httpx.Client, origin: str) -> httpx.Response:
    """What a browser asks before it sends a token."""
    wishes = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    return client.options("/v1/chat/completions", headers={"origin": origin, **wishes})


def test_by_default_no_page_may_ask(serve: Serve) -> None:
    with serve().client() as client:
        assert_error(ask_first(client, HERE), 405, "MethodNotAllowedError")
        answer = client.post("/v1/chat/completions", json=CHAT, headers={"origin": HERE})
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(("given", "allowed"), [(f"https://a.example.com, {HERE}/", HERE), ("*", "*")])
@pytest.mark.parametrize("stream", [True, False])
def test_pages_that_are_named_may(serve: Serve, given: str, allowed: str, stream: bool) -> None:
    with serve(CORS_ORIGINS=given).client() as client:
        answer = ask_first(client, HERE)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == allowed
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers
        answer = client.post("/v1/chat/completions", json={**CHAT, "stream": stream}, headers={"origin": HERE})
        assert answer.headers["access-control-allow-origin"] == allowed
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert "Hello" in answer.text
        assert_error(client.get("/nowhere", headers={"origin": HERE}), 404, "NotFoundError")


def test_other_pages_may_not(serve: Serve) -> None:
    with serve(CORS_ORIGINS=HERE).client() as client:
        answer = ask_first(client, ELSEWHERE)
        assert_error(answer, 403, "ForbiddenError")
        assert "access-control-allow-origin" not in answer.headers
        answer = client.post("/v1/chat/completions", json=CHAT, headers={"origin": ELSEWHERE})
        assert "access-control-allow-origin" not in answer.headers


def test_nothing_is_sniffed(serve: Serve) -> None:
    with serve().client() as client:
        for answer in (client.get("/nowhere"), client.post("/v1/chat/completions", json=CHAT)):
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_page_is_shut_in() -> None:
    answer = page("<p>hi</p>", 404)
    assert (answer.status_code, answer.body) == (404, b"<p>hi</p>")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ("*", None),
        ("https://a.example.com, http://localhost:3000/", None),
        ("https://a.example.com,ide.example.com", "ide.example.com"),
        ("https://a.example.com/path", "https://a.example.com/path"),
        ("null", "null"),
    ],
)
def test_an_origin_is_a_scheme_and_a_host(settings: Settings, given: str, wrong: str | None) -> None:
    found = list(verdicts.problems(settings.model_copy(update={"cors_origins": given, "port": free_port()})))
    assert [problem.startswith(f"CORS_ORIGINS names {wrong}, which is no origin") for problem in found] == (
        [] if wrong is None else [True]
    )
