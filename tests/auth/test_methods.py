"""One token, or none."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr

from tests.api.test_errors import assert_error
from tests.conftest import Serve

TOKEN = "s3cret"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer wrong")],
        [("authorization", f"Basic {TOKEN}")],
        [("authorization", TOKEN)],
        [("authorization", f"Bearer {TOKEN}x")],
        [("authorization", "Bearer " + "x" * 10_000)],
        [("authorization", "Bearer пароль".encode())],
        [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")],
        [("x-api-key", "wrong")],
        [("x-api-key", "")],
    ],
)
def test_a_wrong_token_is_401(serve: Serve, headers: list[tuple[str, str | bytes]]) -> None:
    with serve(VLLM_API_KEY=SecretStr(TOKEN)).client() as client:
        raw = [(name.encode(), value.encode() if isinstance(value, str) else value) for name, value in headers]
        answer = client.get("/v1/models", headers=httpx.Headers(raw))
        assert_error(answer, 401, "UnauthorizedError", "UnauthorizedError: Wrong token")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [{"authorization": f"Bearer {TOKEN}"}, {"authorization": f"bearer {TOKEN}"}, {"x-api-key": TOKEN}],
)
def test_the_token_opens(serve: Serve, headers: dict[str, str]) -> None:
    with serve(VLLM_API_KEY=SecretStr(TOKEN)).client(**headers) as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == "scripted"


def test_probes_need_no_token(serve: Serve) -> None:
    with serve(VLLM_API_KEY=SecretStr(TOKEN)).client() as client:
        assert [client.get(path).status_code for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]


def test_without_a_key_any_token_or_none_will_do(serve: Serve) -> None:
    with serve().client() as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/v1/models", headers={"authorization": "Bearer dummy"}).status_code == 200
