"""Single sign-on against a real OpenID Connect provider on loopback: its tokens, and forgeries of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlparse

import httpx
import jwt
import oidc_provider_mock  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.auth.test_users import Company, found_company, models
from tests.conftest import Serve

# The provider's own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CLIENT = "kodify"


@dataclass
class Provider:
    url: str

    def token(self, subject: str, client: str = CLIENT, **claims: Any) -> str:
        """An ID token by the authorization code flow."""
        with httpx.Client(base_url=self.url) as http:
            put = http.put(f"/users/{subject}", json=claims)
            assert put.is_success, put.text
            asked = {
                "client_id": client,
                "redirect_uri": "http://localhost/back",
                "response_type": "code",
                "scope": "openid email",
            }
            allowed = http.post("/oauth2/authorize", params=asked, data={"sub": subject})
            code = parse_qs(urlparse(allowed.headers["location"]).query)["code"][0]
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": asked["redirect_uri"]}
            answer = http.post("/oauth2/token", data=form, auth=(client, "any secret"))
        token: str = answer.json()["id_token"]
        return token


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with oidc_provider_mock.run_server_in_thread() as server:
        yield Provider(f"http://localhost:{server.server_port}")


@pytest.fixture
def company(serve: Serve, users: dict[str, object], provider: Provider) -> Company:
    sign_on = {
        "OIDC_DISCOVERY_URL": f"{provider.url}/.well-known/openid-configuration",
        "OIDC_AUDIENCE": CLIENT,
        "OIDC_ADMIN_CLAIM": "roles=kodify-admin",
    }
    return found_company(serve, {**users, **sign_on})


def me(company: Company, token: str) -> dict[str, Any]:
    with company.client(token) as client:
        answer = client.get("/users/me")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def test_a_user_is_made_at_first_sight(company: Company, provider: Provider) -> None:
    token = provider.token("u1", email="First@Example.ru", email_verified=True)
    assert models(company, token) == 200
    found = me(company, token)
    assert (found["email"], found["privileged"], found["disabled"]) == ("first@example.ru", False, False)
    assert me(company, provider.token("u1", email="first@example.ru"))["email"] == "first@example.ru"
    acts = company.run(company.administration.acts(None, 1))
    assert (acts[0].actor, acts[0].act, acts[0].target) == ("single sign-on", "create", "first@example.ru")


def test_the_administrator_claim_gives_and_takes_the_right(company: Company, provider: Provider) -> None:
    token = provider.token("u2", email="boss@example.ru", roles=["other", "kodify-admin"])
    with company.client(token) as client:
        assert client.get("/get_user_info", params={"email": "boss@example.ru"}).status_code == 200
    time.sleep(1)  # a token of another second, so that it is another token
    demoted = provider.token("u2", email="boss@example.ru", roles=["other"])
    with company.client(demoted) as client:
        assert client.get("/get_user_info", params={"email": "boss@example.ru"}).status_code == 403


def test_a_known_email_is_linked_only_where_the_provider_vouches_for_it(company: Company, provider: Provider) -> None:
    company.hire("old@example.ru")
    assert models(company, provider.token("thief", email="old@example.ru", email_verified=False)) == 401
    own = provider.token("u3", email="old@example.ru", email_verified=True)
    assert me(company, own)["email"] == "old@example.ru"
    assert models(company, provider.token("u4", email="old@example.ru", email_verified=True)) == 401


def test_a_disabled_user_is_refused_with_a_good_token(company: Company, provider: Provider) -> None:
    token = provider.token("u5", email="gone@example.ru")
    assert models(company, token) == 200
    with company.root() as root:
        root.post("/disable_by_email", data={"email": "gone@example.ru"})
    assert models(company, token) == 401


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def changed(token: str, **claims: Any) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return {**found, **claims}


FORGERIES: dict[str, Callable[[str], str]] = {
    "another key": lambda t: jwt.encode(changed(t), KEY, "RS256", headers=jwt.get_unverified_header(t)),
    "an unknown key": lambda t: jwt.encode(changed(t), KEY, "RS256", headers={"kid": "other"}),
    "no signature": lambda t: jwt.encode(changed(t), "", "none"),
    "a shared secret": lambda t: jwt.encode(
        changed(t), "x" * 32, "HS256", headers=jwt.get_unverified_header(t) | {"alg": "HS256"}
    ),
    "changed claims": lambda t: ".".join(
        [t.split(".")[0], jwt.encode(changed(t, sub="root"), "", "none").split(".")[1], t.split(".")[2]]
    ),
    "cut off": lambda t: t[:-8],
    "no token": lambda t: "eyJ.eyJ.eyJ",
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forgery_is_401(company: Company, provider: Provider, kind: str) -> None:
    token = provider.token("u6", email="six@example.ru")
    assert models(company, token) == 200
    assert models(company, FORGERIES[kind](token)) == 401


def test_a_token_for_another_audience_is_401(company: Company, provider: Provider) -> None:
    assert models(company, provider.token("u7", client="another", email="seven@example.ru")) == 401


def test_a_token_without_an_email_is_401(company: Company, provider: Provider) -> None:
    assert models(company, provider.token("u8")) == 401


def test_users_own_tokens_work_beside_it(company: Company) -> None:
    assert models(company, company.hire("plain@example.ru")) == 200


def test_a_deleted_user_does_not_come_back(company: Company, provider: Provider) -> None:
    token = provider.token("u9", email="nine@example.ru")
    assert models(company, token) == 200
    with company.root() as root:
        root.post("/disable_by_email", data={"email": "nine@example.ru"})
        assert "nine@example.ru" in root.post("/delete_all_disabled").text
    assert models(company, token) == 401
    assert models(company, token) == 401


@pytest.mark.parametrize("email", ["a\nb@c", "a@b\x1b[31m", "no address", "@", "a@b@c"])
def test_an_odd_email_is_401(company: Company, provider: Provider, email: str) -> None:
    assert models(company, provider.token("u10", email=email)) == 401


def test_unknown_keys_do_not_keep_known_ones_waiting(company: Company, provider: Provider) -> None:
    token = provider.token("u11", email="eleven@example.ru")
    assert models(company, token) == 200
    verifier = company.served.app.state.auth._sign_on.verifier
    verifier._jwks_url = "http://127.0.0.1:1/jwks"  # the provider is away
    verifier._fetched_at = verifier._tried_at = float("-inf")
    unknown = jwt.encode(changed(token), KEY, "RS256", headers={"kid": "other"})
    assert models(company, unknown) == 503
    tried_at = verifier._tried_at
    assert models(company, provider.token("u11", email="eleven@example.ru", extra=1)) == 200
    assert models(company, unknown) == 503
    assert verifier._tried_at == tried_at  # not for each of them


def test_an_email_that_is_not_verified_makes_no_user(company: Company, provider: Provider) -> None:
    assert models(company, provider.token("u12", email="twelve@example.ru", email_verified=False)) == 401
