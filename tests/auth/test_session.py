"""Signing in to the pages: the cookie, where it counts, and single sign-on by a browser."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from kodify import verdicts
from kodify.api import cookies, session
from kodify.errors import UnavailableError
from kodify.settings import Settings
from tests.api.test_errors import assert_error
from tests.auth.test_sign_on import CLIENT, Provider, provider
from tests.auth.test_users import PASSWORD, ROOT, Company, company, found_company
from tests.conftest import Serve

__all__ = ["company", "provider"]

# The provider's own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PAGE = {"x-kodify-page": "1"}
PASSWORD_IN = {"email": ROOT, "password": PASSWORD}
ELSEWHERE = "http://evil.example.com"


def shown(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/session", headers=PAGE)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_without_authorisation_everybody_is_in_and_browsers_are_told_apart(serve: Serve) -> None:
    served = serve()
    with served.client() as client:
        found = shown(client)
        assert (found["signed_in"], found["methods"], found["administrator"]) == (True, [], False)
        visitor = client.cookies["kodify_visitor"]
        shown(client)
        assert client.cookies["kodify_visitor"] == visitor
    with served.client() as other:
        shown(other)
        assert other.cookies["kodify_visitor"] != visitor


def test_another_sites_link_does_not_take_a_browsers_chats_away(serve: Serve) -> None:
    with serve().client() as client:  # browsers keep a strict cookie back there, and take a new one
        answer = client.get("/session", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


def test_one_token_signs_in(serve: Serve) -> None:
    with serve(VLLM_API_KEY=SecretStr("the one token")).client() as client:
        assert (shown(client)["signed_in"], shown(client)["methods"]) == (False, ["token"])
        assert_error(client.post("/session", json={"token": "another"}, headers=PAGE), 401, "UnauthorizedError")
        assert "kodify_session" not in client.cookies
        assert client.post("/session", json={"token": " the one token "}, headers=PAGE).status_code == 200
        assert client.get("/v1/models", headers=PAGE).status_code == 200
        assert client.get("/v1/models").status_code == 401  # another site's page can make such a request


def test_a_password_signs_in_and_signing_out_ends_the_token(company: Company) -> None:
    with company.client() as client:
        assert shown(client)["methods"] == ["token", "password"]
        answer = client.post("/session", json=PASSWORD_IN, headers=PAGE)
        assert answer.json() | {"version": ""} == {
            "signed_in": True, "name": ROOT, "administrator": True, "methods": ["token", "password"], "version": "",
        }  # fmt: skip
        cookie = answer.headers["set-cookie"]
        assert re.search(r"HttpOnly.*SameSite=strict", cookie) and "Secure" not in cookie
        token = client.cookies["kodify_session"].partition(".")[2]
        assert client.get("/users/me", headers=PAGE).json()["email"] == ROOT
        with company.client(token) as by_token:
            assert by_token.get("/users/me").status_code == 200
            left = client.delete("/session", headers=PAGE)
            assert left.status_code == 204 and "kodify_session" not in client.cookies
            assert_error(by_token.get("/users/me"), 401, "UnauthorizedError")
        assert shown(client)["signed_in"] is False


def test_a_browser_is_signed_out_while_the_database_is_away(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    with company.client() as client:
        client.post("/session", json=PASSWORD_IN, headers=PAGE)
        with monkeypatch.context() as away:

            async def revoke(user_id: int, token_id: int) -> None:
                raise UnavailableError()

            away.setattr(company.served.app.state.administration, "revoke", revoke)
            left = client.delete("/session", headers=PAGE)
        assert_error(left, 503, "ServiceUnavailableError")
        assert "signed out" in left.json()["message"] and "kodify_session" not in client.cookies
        assert shown(client)["signed_in"] is False


def test_a_token_of_the_users_own_outlives_the_signing_out(company: Company) -> None:
    with company.client() as client:
        assert client.post("/session", json={"token": company.root_token}, headers=PAGE).status_code == 200
        assert client.delete("/session", headers=PAGE).status_code == 204
    with company.root() as root:
        assert root.get("/users/me").status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"token": ""}, 400),
        ({"token": 1}, 400),
        ({"email": ROOT}, 400),
        ({"email": ROOT, "password": ["x"]}, 400),
        ({"email": ROOT, "password": "wrong"}, 401),
        ({"email": "nobody@example.com", "password": PASSWORD}, 401),
        ({"token": "kdf_" + "0" * 49}, 401),
        ({"token": "x" * 5000}, 401),
        ({"token": "a\r\nset-cookie: b=c"}, 401),
        ({"token": "токен"}, 401),
    ],
)
def test_what_does_not_sign_in(company: Company, body: dict[str, Any], status: int) -> None:
    with company.client() as client:
        answer = client.post("/session", json=body, headers=PAGE)
        assert answer.status_code == status, answer.text
        assert "kodify_session" not in client.cookies


OTHERS: list[tuple[dict[str, str], bool]] = [
    ({}, False),
    (PAGE, True),
    ({**PAGE, "origin": "http://HOST"}, True),
    ({**PAGE, "origin": ELSEWHERE}, False),
    ({**PAGE, "origin": "null"}, False),
    ({**PAGE, "origin": "file://"}, False),
    ({**PAGE, "sec-fetch-site": "same-origin"}, True),
    ({**PAGE, "sec-fetch-site": "same-origin", "origin": "https://kodify.example.com"}, True),
    ({**PAGE, "sec-fetch-site": "same-site"}, False),
    ({**PAGE, "sec-fetch-site": "cross-site", "origin": "http://HOST"}, False),
    ({**PAGE, "origin": "https://kodify.example.com", "x-forwarded-host": "kodify.example.com"}, True),
    ({"sec-fetch-site": "same-origin"}, False),
]


@pytest.mark.parametrize(("headers", "counts"), OTHERS)
def test_the_cookie_counts_only_from_kodifys_own_pages(company: Company, headers: dict[str, str], counts: bool) -> None:
    own = {name: value.replace("HOST", urlsplit(company.served.url).netloc) for name, value in headers.items()}
    with company.client() as client:
        assert client.post("/session", json=PASSWORD_IN, headers=PAGE).status_code == 200
        assert client.get("/users/me", headers=own).status_code == (200 if counts else 401)
        assert client.post("/session", json=PASSWORD_IN, headers=own).status_code == (200 if counts else 403)


def connection(app: object, kind: str, headers: dict[str, str]) -> HTTPConnection:
    pairs = [(name.encode(), value.encode()) for name, value in {"host": "kodify:8000", **headers}.items()]
    scope: dict[str, Any] = {"type": kind, "headers": pairs, "app": app, "state": {}}
    return HTTPConnection(scope)


@pytest.mark.parametrize(
    ("headers", "counts"),
    [
        ({"origin": "http://kodify:8000"}, True),
        ({"origin": "https://kodify:8000"}, True),
        ({"origin": "http://kodify:9000"}, False),
        ({"origin": ELSEWHERE}, False),
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://kodify:8000"}, False),
    ],
)
def test_of_a_websocket_the_origin_decides(serve: Serve, headers: dict[str, str], counts: bool) -> None:
    own = connection(serve().app, "websocket", {"cookie": "a=b; kodify_session=g.secret; c=d", **headers})
    found = cookies.session(own.scope)
    assert (found is not None and found.token == "secret") is counts


@pytest.mark.parametrize(
    "cookie",
    ["kodify_session=secret", "kodify_session=x.secret", "kodify_session=g.", "xkodify_session=g.secret",
     "kodify_session=g.a; kodify_session=g.b", "kodify_session", "", "; =; kodify_session=;"],
)  # fmt: skip
def test_odd_cookies_are_none(serve: Serve, cookie: str) -> None:
    assert cookies.session(connection(serve().app, "http", {"cookie": cookie, **PAGE}).scope) is None


def test_a_header_goes_before_the_cookie(company: Company) -> None:
    other = company.hire("other@example.com")
    with company.client() as client:
        client.post("/session", json=PASSWORD_IN, headers=PAGE)
        answer = client.get("/users/me", headers={**PAGE, "authorization": f"Bearer {other}"})
        assert answer.json()["email"] == "other@example.com"
        assert client.get("/users/me", headers={**PAGE, "authorization": "Basic x"}).status_code == 401


def test_who_owns_a_chat(company: Company) -> None:
    own = connection(company.served.app, "http", {})
    own.state.principal = asyncio.run_coroutine_threadsafe(
        company.served.app.state.auth.identify(company.root_token), company.served.loop
    ).result(30)
    assert re.fullmatch(r"user:\d+", session.owner(own))


def test_under_tls_the_cookie_is_secure(serve: Serve, users: dict[str, object]) -> None:
    company = found_company(serve, {**users, "PUBLIC_URL": "https://kodify.example.com/"})
    with company.client() as client:
        cookie = client.post("/session", json=PASSWORD_IN, headers=PAGE).headers["set-cookie"]
        assert "Secure" in cookie
        asked = {**PAGE, "cookie": cookie.partition(";")[0], "origin": "https://kodify.example.com"}
        assert client.get("/users/me", headers=asked).status_code == 200


@pytest.fixture
def signing_on(serve: Serve, users: dict[str, object], provider: Provider) -> Company:
    sign_on = {
        "OIDC_DISCOVERY_URL": f"{provider.url}/.well-known/openid-configuration",
        "OIDC_AUDIENCE": "api",
        "OIDC_CLIENT_ID": CLIENT,
        "OIDC_CLIENT_SECRET": SecretStr("any secret"),
        "OIDC_ADMIN_CLAIM": "roles=kodify-admin",
    }
    return found_company(serve, {**users, **sign_on})


def go_to_provider(client: httpx.Client, provider: Provider, subject: str, **claims: Any) -> httpx.URL:
    """What a browser is sent back to."""
    asked = client.get("/session/sign-on", params={"next": "/admin?tab=users"})
    assert asked.status_code == 303, asked.text
    cookie = asked.headers["set-cookie"]
    assert "HttpOnly" in cookie and "Path=/session/sign-on" in cookie and "SameSite=lax" in cookie
    assert parse_qs(urlsplit(asked.headers["location"]).query)["code_challenge_method"] == ["S256"]
    with httpx.Client() as http:
        http.put(f"{provider.url}/users/{subject}", json=claims)
        return httpx.URL(http.post(asked.headers["location"], data={"sub": subject}).headers["location"])


def test_single_sign_on_by_a_browser(signing_on: Company, provider: Provider) -> None:
    with signing_on.client() as client:
        assert shown(client)["methods"] == ["token", "password", "sign-on"]
        back = go_to_provider(client, provider, "boss", email="boss@example.ru", roles=["kodify-admin"])
        answer = client.get(str(back))
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin?tab=users")
        found = shown(client)
        assert (found["signed_in"], found["name"], found["administrator"]) == (True, "boss@example.ru", True)
        assert client.get(str(back)).headers["location"] == session.FAILED  # a code and a state are for once
        assert shown(client)["signed_in"]


def test_a_cookie_from_elsewhere_does_not_lead_to_another_site(signing_on: Company, provider: Provider) -> None:
    with signing_on.client() as client:
        back = go_to_provider(client, provider, "u11", email="u11@example.ru")
        kept = json.loads(base64.urlsafe_b64decode(client.cookies["kodify_sign_on"].strip('"')))
        forged = base64.urlsafe_b64encode(json.dumps({**kept, "next": ELSEWHERE}).encode()).decode()
        client.cookies.clear()
        answer = client.get(str(back), headers={"cookie": f"kodify_sign_on={forged}"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_sign_on_that_somebody_else_began_is_none(signing_on: Company, provider: Provider) -> None:
    with signing_on.client() as attacker, signing_on.client() as victim:
        back = go_to_provider(attacker, provider, "u9", email="u9@example.ru")
        assert victim.get(str(back)).headers["location"] == session.FAILED
        victim.get("/session/sign-on")
        assert victim.get(str(back)).headers["location"] == session.FAILED
        assert shown(victim)["signed_in"] is False


def test_a_disabled_user_does_not_sign_on(signing_on: Company, provider: Provider) -> None:
    signing_on.hire("gone2@example.ru")
    with signing_on.root() as root:
        root.post("/disable_by_email", data={"email": "gone2@example.ru"})
    with signing_on.client() as client:
        back = go_to_provider(client, provider, "u10", email="gone2@example.ru", email_verified=True)
        assert client.get(str(back)).headers["location"] == session.FAILED
        assert shown(client)["signed_in"] is False


@pytest.mark.parametrize(
    ("wanted", "path"),
    [("/admin", "/admin"), ("//evil.example.com", "/"), ("/\\evil.example.com", "/"), ("https://evil.example.com", "/"),
     ("javascript:alert(1)", "/"), ("/a\r\nb: c", "/"), ("", "/")],
)  # fmt: skip
def test_one_comes_back_to_kodifys_own_pages_only(wanted: str, path: str) -> None:
    assert session._own_path(wanted) == path


def test_without_a_client_id_there_is_no_sign_on(company: Company) -> None:
    with company.client() as client:
        assert_error(client.get("/session/sign-on"), 404, "NotFoundError")
        assert_error(client.get("/session/sign-on/callback"), 404, "NotFoundError")


def test_a_client_id_needs_a_provider(settings: Settings) -> None:
    own = settings.model_copy(update={"oidc_client_id": "kodify"})
    assert any("OIDC_DISCOVERY_URL" in problem for problem in verdicts.authorisation(own))
