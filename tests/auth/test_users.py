"""Users from PostgreSQL: logins, tokens, administrators, by the documented API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from kodify.auth import passwords, tokens
from kodify.auth.administration import Actor, Administration
from tests.api.test_errors import assert_error
from tests.conftest import Serve, Served, eventually

PASSWORD = "correct horse"
ROOT = "root@example.com"
TOLD_S = 10  # every replica is told; what was not told would be known for half a minute


def today() -> date:
    return datetime.now(UTC).date()


@dataclass
class Company:
    """A server with one administrator."""

    served: Served
    root_token: str

    @property
    def administration(self) -> Administration:
        found: Administration = self.served.app.state.administration
        return found

    def run(self, coroutine: Any) -> Any:
        """On the server's own loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.served.loop).result(30)

    def client(self, token: str | None = None) -> httpx.Client:
        return self.served.client(**({"authorization": f"Bearer {token}"} if token else {}))

    def root(self) -> httpx.Client:
        return self.client(self.root_token)

    def hire(self, email: str, *, days: int = 28, privileged: bool = False) -> str:
        """The new user's token."""
        form = {"email": email, "password": PASSWORD, "expire": days, "privileged": str(privileged).lower()}
        with self.root() as root:
            answer = root.post("/create_user", data=form)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        return token


def found_company(serve: Callable[..., Served], users: dict[str, object]) -> Company:
    served = serve(**users)
    eventually(lambda: bool(served.app.state.ready))
    company = Company(served, "")
    _, company.root_token = company.run(
        company.administration.create(Actor("cli"), ROOT, PASSWORD, 365, privileged=True)
    )
    return company


@pytest.fixture
def company(serve: Serve, users: dict[str, object]) -> Iterator[Company]:
    yield found_company(serve, users)


def models(company: Company, token: str | None) -> int:
    with company.client(token) as client:
        return client.get("/v1/models").status_code


def test_a_user_is_made_and_their_token_opens(company: Company) -> None:
    with company.root() as root:
        form = {"email": " New.User@Example.ru ", "password": PASSWORD, "expire": 28, "privileged": "false"}
        made = root.post("/create_user", data=form)
    assert made.status_code == 200
    token = made.json()["token"]
    assert {k: v for k, v in made.json().items() if k != "token"} == {
        "email": "new.user@example.ru",
        "expiration_date": (today() + timedelta(days=28)).isoformat(),
        "disabled": False,
        "privileged": False,
    }
    assert made.headers["cache-control"] == "no-store"
    assert tokens.is_well_formed(token)
    assert models(company, token) == 200
    with company.client(token) as client:
        assert client.get("/users/me").json()["token"] == token
    with company.root() as root:
        shown = root.get("/get_user_info", params={"email": "new.user@example.ru"}).json()
        assert shown["token"] == token[:12] + "…"
        assert root.get("/get_user_info", params={"email": ROOT}).json()["token"] == company.root_token


def test_a_login_makes_another_token_and_all_of_them_are_listed_and_revoked(company: Company) -> None:
    first = company.hire("a@example.ru")
    with company.client() as client:
        answer = client.post("/token", data={"username": "A@example.ru", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json()["token_type"] == "bearer"
    second = answer.json()["access_token"]
    assert second != first
    with company.client(second) as client:
        listed = client.get("/users/me/tokens").json()["data"]
        assert [(entry["token"], entry["current"]) for entry in listed] == [
            (second[:12] + "…", True),
            (first[:12] + "…", False),
        ]
        days = datetime.fromisoformat(listed[0]["expires_at"]) - datetime.now(UTC)
        assert 29 <= days.days <= 30
        assert listed[1]["expires_at"] is None
        assert client.delete(f"/users/me/tokens/{listed[1]['id']}").status_code == 204
        assert client.delete(f"/users/me/tokens/{listed[1]['id']}").status_code == 404
    assert models(company, first) == 401
    assert models(company, second) == 200


def test_a_users_token_is_no_other_users_to_revoke(company: Company) -> None:
    mine, theirs = company.hire("a@example.ru"), company.hire("b@example.ru")
    with company.client(theirs) as client:
        number = client.get("/users/me/tokens").json()["data"][0]["id"]
    with company.client(mine) as client:
        assert client.delete(f"/users/me/tokens/{number}").status_code == 404
    assert models(company, theirs) == 200


@pytest.mark.parametrize(("username", "password"), [("a@example.ru", "wrong"), ("nobody@example.ru", PASSWORD)])
def test_a_wrong_login_is_401(company: Company, username: str, password: str) -> None:
    company.hire("a@example.ru")
    with company.client() as client:
        answer = client.post("/token", data={"username": username, "password": password})
        assert_error(answer, 401, "UnauthorizedError", "UnauthorizedError: Wrong username or password")


def test_logins_are_limited_by_account(company: Company) -> None:
    with company.client() as client:
        codes = [client.post("/token", data={"username": "x@y", "password": "z"}) for _ in range(6)]
    assert [answer.status_code for answer in codes] == [401] * 5 + [429]
    assert 1 <= int(codes[-1].headers["retry-after"]) <= 60


def test_logins_are_limited_by_address(company: Company) -> None:
    with company.client() as client:
        codes = [client.post("/token", data={"username": f"x{n}@y", "password": "z"}).status_code for n in range(22)]
    assert codes == [401] * 20 + [429] * 2


def test_an_unknown_users_login_costs_a_hash_like_a_known_ones(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.hire("a@example.ru")
    verified: list[bool] = []
    verify = passwords._hasher.verify

    def count(stored: str, password: str) -> bool:
        verified.append(stored.startswith("$argon2id$"))
        return bool(verify(stored, password))

    monkeypatch.setattr(passwords, "_hasher", SimpleNamespace(verify=count))
    for name in ("a@example.ru", "nobody@example.ru"):
        with company.client() as client:
            client.post("/token", data={"username": name, "password": "wrong"})
    assert verified == [True, True]


def test_disabling_works_at_once_and_is_told_in_the_documented_lines(company: Company) -> None:
    token = company.hire("user1@example.ru")
    assert models(company, token) == 200  # is in the cache
    with company.root() as root:
        answer = root.post("/disable_by_email", data={"email": "user1@example.ru"})
        assert answer.text == f"Start disabling:\nDisable user1 user1@example.ru with token {token[:12]}…"
        assert models(company, token) == 401
        assert root.post("/disable_by_email", data={"email": "nobody@example.ru"}).text == "Start disabling:"
        other = company.hire("user2@example.ru")
        answer = root.post("/disable_by_token", data={"token": other})
        assert answer.text == f"Start disabling:\nDisable user2 user2@example.ru with token {other}"
        answer = root.post("/delete_all_disabled")
        assert answer.text.splitlines() == [
            "Start deletion:",
            f"Delete user1 user1@example.ru with token {token[:12]}…",
            f"Delete user2 user2@example.ru with token {other[:12]}…",
        ]
        third = company.hire("user3@example.ru")
        answer = root.post("/delete_by_token", data={"token": third})
        assert answer.text == f"Start deletion:\n1 users with token {third} were deleted"
        answer = root.post("/delete_by_email", data={"email": "user3@example.ru"})
        assert answer.text == "Start deletion:\n0 users with email user3@example.ru were deleted"
    assert models(company, third) == 401


def test_an_expired_user_is_401_and_is_disabled_with_the_others(company: Company) -> None:
    last_day = company.hire("today@example.ru", days=0)
    assert models(company, last_day) == 200
    user = company.hire("late@example.ru", days=5)
    expire(company, "late@example.ru")
    assert models(company, user) == 401
    with company.root() as root:
        answer = root.post("/disable_all_expired")
        assert answer.text == f"Start disabling:\nDisable late late@example.ru with token {user[:12]}…"
        assert root.post("/disable_all_expired").text == "Start disabling:"
    with company.client() as client:
        answer = client.post("/token", data={"username": "late@example.ru", "password": PASSWORD})
        assert answer.status_code == 401


def expire(company: Company, email: str) -> None:
    async def run() -> None:
        async with company.administration._auth.queries() as queries:
            user = await queries.by_email(email)
            assert user is not None
            user.expires_on = today() - timedelta(days=1)
            await queries.tell_replicas()

    company.run(run())


def test_the_last_administrator_cant_be_locked_out(company: Company) -> None:
    with company.root() as root:
        for path, form in [
            ("/disable_by_email", {"email": ROOT}),
            ("/disable_by_token", {"token": company.root_token}),
            ("/delete_by_email", {"email": ROOT}),
            ("/delete_by_token", {"token": company.root_token}),
        ]:
            answer = root.post(path, data=form)
            assert answer.status_code == 409, path
        company.hire("second@example.ru", privileged=True)
        assert root.post("/disable_by_email", data={"email": ROOT}).status_code == 200
        assert models(company, company.root_token) == 401


def test_only_administrators_administrate(company: Company) -> None:
    token = company.hire("a@example.ru")
    with company.client(token) as client:
        for path in ("/create_user", "/disable_by_email", "/disable_all_expired", "/delete_all_disabled"):
            assert_error(client.post(path, data={"email": ROOT}), 403, "ForbiddenError", "Forbidden")
        assert client.get("/get_user_info", params={"email": ROOT}).status_code == 403
    with company.client() as client:
        assert client.post("/create_user").status_code == 401
        assert client.get("/create_user").status_code == 405


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/create_user", {}),
        ("/create_user", {"email": "a@b", "password": "x", "expire": "soon"}),
        ("/create_user", {"email": "a@b", "password": "x", "expire": -1}),
        ("/create_user", {"email": "a@b", "password": "", "expire": 1}),
        ("/create_user", {"email": "no address", "password": "x", "expire": 1}),
        ("/create_user", {"email": "a@b", "password": "x", "expire": 1, "privileged": "perhaps"}),
        ("/disable_by_email", {}),
        ("/disable_by_token", {"email": "a@b"}),
        ("/delete_by_email", {}),
        ("/delete_by_token", {}),
        ("/token", {"username": "a"}),
    ],
)
def test_a_malformed_form_is_422(company: Company, path: str, form: dict[str, Any]) -> None:
    with company.root() as root:
        answer = root.post(path, data=form)
        assert answer.status_code == 422, answer.text
        assert answer.json()["message"].startswith("Unprocessable Entity: ")


def test_a_second_user_of_one_email_is_409(company: Company) -> None:
    company.hire("a@example.ru")
    with company.root() as root:
        form = {"email": "A@example.ru", "password": "x", "expire": 1}
        assert root.post("/create_user", data=form).status_code == 409


def test_every_act_is_in_the_audit_and_stays_there(company: Company) -> None:
    company.hire("a@example.ru")
    with company.root() as root:
        root.post("/disable_by_email", data={"email": "a@example.ru"})
        root.post("/delete_by_email", data={"email": "a@example.ru"})
    acts = company.run(company.administration.acts(None, 10))
    assert [(act.act, act.actor, act.address, act.target) for act in acts] == [
        ("delete", ROOT, "127.0.0.1", "a@example.ru"),
        ("disable", ROOT, "127.0.0.1", "a@example.ru"),
        ("create", ROOT, "127.0.0.1", "a@example.ru"),
        ("create", "cli", None, ROOT),
    ]


def test_what_one_replica_changes_the_other_is_told(serve: Serve, users: dict[str, object]) -> None:
    first = found_company(serve, users)
    second = Company(serve(**users), first.root_token)
    eventually(lambda: bool(second.served.app.state.ready))
    token = first.hire("a@example.ru")
    assert models(second, token) == 200
    with first.root() as root:
        root.post("/disable_by_email", data={"email": "a@example.ru"})
    eventually(lambda: models(second, token) == 401, TOLD_S)


def test_without_users_their_routes_say_so(serve: Serve) -> None:
    with serve().client() as client:
        answer = client.post("/token", data={"username": "a", "password": "b"})
        assert_error(answer, 404, "NotFoundError", "There are no users here: MTSAI_AUTH is off.")
        assert client.post("/create_user").status_code == 403
        assert client.get("/users/me").status_code == 404


@pytest.mark.parametrize("path", ["/token", "/disable_by_email", "/disable_by_token", "/create_user"])
def test_control_characters_are_422(company: Company, path: str) -> None:
    form = {"username": "a\x00b@c", "password": "x", "email": "a\x00b@c", "token": "kdf_\x00", "expire": "1"}
    with company.root() as root:
        assert root.post(path, data=form).status_code == 422


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 19, "-1", "x", "٣"])
def test_an_odd_id_of_a_token_is_404(company: Company, number: str) -> None:
    with company.root() as root:
        assert root.delete(f"/users/me/tokens/{number}").status_code == 404


def test_ten_thousand_users_are_listed_in_pages(company: Company) -> None:
    auth = company.administration._auth
    schema, _, table = company.served.app.state.settings.users_table.partition(".")
    with auth.database.blocking_connection() as connection:
        connection.execute(
            f"INSERT INTO {schema}.{table} (email, expires_on) "
            "SELECT 'u' || n || '@example.ru', current_date + 1 FROM generate_series(1, 10000) AS n"
        )
    found: list[int] = []
    pages = 0
    while page := company.run(company.administration.page(found[-1] if found else 0, 500)):
        found += [listed.user.id for listed in page]
        pages += 1
    assert pages == 21
    assert len(found) == len(set(found)) == 10_001
