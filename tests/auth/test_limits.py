"""Limits of one user: requests a minute, requests at once, tokens a day."""

from __future__ import annotations

import contextlib

import httpx

from kodify.engine.scripted import Script
from tests.auth.test_users import Company, found_company
from tests.conftest import Serve, eventually

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}


def ask(company: Company, token: str) -> httpx.Response:
    with company.client(token) as client:
        return client.post("/v1/chat/completions", json=CHAT)


def assert_limited(answer: httpx.Response, kind: str | None) -> None:
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "RateLimitError"
    assert int(answer.headers["retry-after"]) >= 1
    if kind is not None:
        assert answer.headers[f"x-ratelimit-remaining-{kind}"] == "0"


def test_requests_a_minute_are_shared_by_replicas(serve: Serve, users: dict[str, object]) -> None:
    limited = {**users, "LIMIT_REQUESTS_PER_MINUTE": 3}
    first = found_company(serve, limited)
    second = Company(serve(**limited), first.root_token)
    eventually(lambda: bool(second.served.app.state.ready))
    token, other = first.hire("a@example.ru"), first.hire("b@example.ru")
    left = []
    for company in (first, second, first):
        answer = ask(company, token)
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
        left.append(answer.headers["x-ratelimit-remaining-requests"])
    assert left == ["2", "1", "0"]
    assert_limited(ask(second, token), "requests")
    assert ask(second, other).status_code == 200  # another user has a minute of their own
    with first.client(token) as client:
        assert client.get("/v1/models").status_code == 200  # and what generates nothing is not counted


def test_tokens_a_day_count_what_was_read_and_written(serve: Serve, users: dict[str, object]) -> None:
    company = found_company(serve, {**users, "LIMIT_TOKENS_PER_DAY": 5})
    token = company.hire("a@example.ru")
    answer = ask(company, token)
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-remaining-tokens"] == "5"
    assert answer.json()["usage"]["total_tokens"] >= 5
    assert_limited(ask(company, token), "tokens")


def test_requests_at_once(serve: Serve, users: dict[str, object]) -> None:
    company = found_company(
        lambda **variables: serve(Script(endless=True), **variables), {**users, "LIMIT_CONCURRENT_REQUESTS": 2}
    )
    token = company.hire("a@example.ru")

    def stream(client: httpx.Client) -> contextlib.AbstractContextManager[httpx.Response]:
        return client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True})

    with company.client(token) as client:
        with stream(client) as first, stream(client) as second:
            assert (first.status_code, second.status_code) == (200, 200)
            assert_limited(ask(company, token), None)
        # They have left, and so may the next one come.
        eventually(lambda: _is_let_in(stream(client)))


def _is_let_in(request: contextlib.AbstractContextManager[httpx.Response]) -> bool:
    with request as answer:
        return answer.status_code == 200
