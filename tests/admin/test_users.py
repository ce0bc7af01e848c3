"""`/api/v1/admin/users` and the audit: what an administrator's page asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from kodify.app import ROUTES
from kodify.auth import tokens
from tests.admin.conftest import Office
from tests.api.test_errors import assert_error
from tests.auth.test_users import PASSWORD, ROOT, TOLD_S, Company, models, today
from tests.conftest import Serve, eventually

USERS = "/api/v1/admin/users"
AUDIT = "/api/v1/admin/audit"


@pytest.fixture
def company(office: Office) -> Company:
    return office(LOGS=False)


def make(client: httpx.Client, email: str, **fields: Any) -> dict[str, Any]:
    answer = client.post(USERS, json={"email": email, "days": 28, **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_user_is_made_shown_disabled_enabled_and_deleted(company: Company) -> None:
    with company.root() as root:
        made = make(root, " Ann@Example.ru ", password=PASSWORD)
        token, path = made["token"], f"{USERS}/{made['id']}"
        assert tokens.is_well_formed(token)
        assert models(company, token) == 200
        shown = {
            "id": made["id"],
            "email": "ann@example.ru",
            "expiration_date": (today() + timedelta(days=28)).isoformat(),
            "disabled": False,
            "privileged": False,
            "created_at": made["created_at"],
            "has_password": True,
            "signs_on": False,
            "token": token[:12] + "…",
        }
        assert {**made, "token": shown["token"]} == shown
        answer = root.get(USERS, params={"search": "ANN"})
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {"data": [shown], "total": 1, "next": None}
        for disabled, status in ((True, 401), (False, 200), (True, 401)):
            told = root.patch(path, json={"disabled": disabled})
            assert (told.status_code, told.json()) == (200, {**shown, "disabled": disabled})
            eventually(lambda status=status: models(company, token) == status, TOLD_S)  # type: ignore[misc]
        assert root.patch(path, json={"disabled": True}).status_code == 200  # is nothing new
        assert root.delete(path).status_code == 204
        assert root.get(USERS, params={"search": "ann"}).json() == {"data": [], "total": 0, "next": None}
        acts = [(act["act"], act["target"]) for act in root.get(AUDIT).json()["data"]]
    names = ("delete", "disable", "enable", "disable", "create")
    assert acts == [*((name, "ann@example.ru") for name in names), ("create", ROOT)]


def test_users_are_found_in_pages_by_a_part_of_the_email(company: Company) -> None:
    with company.root() as root:
        made = [make(root, f"user{number}@a_b.ru")["id"] for number in range(5)]
        make(root, "user9@axb.ru")
        first = root.get(USERS, params={"search": "a_b", "limit": 2}).json()
        assert ([user["id"] for user in first["data"]], first["total"], first["next"]) == (made[:2], 5, made[1])
        found, after = [], 0
        while after is not None:
            page = root.get(USERS, params={"search": "a_b", "limit": 2, "after": after}).json()
            found += [user["id"] for user in page["data"]]
            after = page["next"]
        assert found == made


def test_tokens_are_made_listed_and_revoked_and_it_is_written_down(company: Company) -> None:
    with company.root() as root:
        user = make(root, "ann@example.ru")
        path = f"{USERS}/{user['id']}/tokens"
        answer = root.post(path, json={"days": 3})
        assert answer.status_code == 201
        second = answer.json()
        left = datetime.fromisoformat(second["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=2, hours=23) < left <= timedelta(days=3)
        default = datetime.fromisoformat(root.post(path, json={}).json()["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=29, hours=23) < default <= timedelta(days=30)
        assert models(company, second["token"]) == 200
        listed = root.get(path).json()["data"]
        assert len(listed) == 3
        assert listed[1] == {**second, "token": second["token"][:12] + "…", "last_used_at": listed[1]["last_used_at"]}
        assert root.delete(f"{path}/{second['id']}").status_code == 204
        assert_error(root.delete(f"{path}/{second['id']}"), 404, "NotFoundError", "There is no such token.")
        eventually(lambda: models(company, second["token"]) == 401, TOLD_S)
        assert models(company, user["token"]) == 200
        last = root.get(AUDIT, params={"limit": 1}).json()["data"][0]
        assert (last["act"], last["actor"], last["target"], last["detail"], last["address"]) == (
            "revoke token",
            ROOT,
            "ann@example.ru",
            second["token"][:12] + "…",
            "127.0.0.1",
        )


def test_the_audit_is_read_in_pages_and_searched(company: Company) -> None:
    with company.root() as root:
        for name in ("ann", "bob", "cid"):
            make(root, f"{name}@example.ru")
        page = root.get(AUDIT, params={"limit": 2}).json()
        assert [act["target"][:3] for act in page["data"]] == ["cid", "bob"]
        page = root.get(AUDIT, params={"limit": 2, "before": page["next"]}).json()
        assert [act["target"] for act in page["data"]] == ["ann@example.ru", ROOT]
        found = root.get(AUDIT, params={"search": "BOB@"}).json()
        assert [act["target"] for act in found["data"]] == ["bob@example.ru"]
        assert found["next"] is None
        assert root.get(AUDIT, params={"search": "%"}).json()["data"] == []


def test_the_last_administrator_stays(company: Company) -> None:
    with company.root() as root:
        number = root.get(USERS, params={"search": ROOT}).json()["data"][0]["id"]
        assert root.patch(f"{USERS}/{number}", json={"disabled": True}).status_code == 409
        assert root.delete(f"{USERS}/{number}").status_code == 409
        make(root, "second@example.ru", privileged=True)
        assert root.patch(f"{USERS}/{number}", json={"disabled": True}).status_code == 200


WRONG: list[tuple[str, str, Any, int]] = [
    ("POST", USERS, {"email": "a@b"}, 422),
    ("POST", USERS, {"email": "no address", "days": 1}, 422),
    ("POST", USERS, {"email": "a@b\x00", "days": 1}, 422),
    ("POST", USERS, {"email": "a@b.ru", "days": -1}, 422),
    ("POST", USERS, {"email": "a@b.ru", "days": 1, "password": ""}, 422),
    ("POST", USERS, {"email": "a@b.ru", "days": "soon"}, 422),
    ("POST", USERS, {"email": ROOT, "days": 1}, 409),
    ("PATCH", f"{USERS}/1", {}, 422),
    ("PATCH", f"{USERS}/1", {"disabled": "yes"}, 422),
    ("PATCH", f"{USERS}/99", {"disabled": True}, 404),
    ("PATCH", f"{USERS}/x", {"disabled": True}, 404),
    ("DELETE", f"{USERS}/99", None, 404),
    ("DELETE", f"{USERS}/{'9' * 30}", None, 404),
    ("GET", f"{USERS}/99/tokens", None, 404),
    ("POST", f"{USERS}/99/tokens", {}, 404),
    ("POST", f"{USERS}/1/tokens", {"days": 0}, 422),
    ("DELETE", f"{USERS}/1/tokens/99", None, 404),
    ("GET", f"{USERS}?limit=0", None, 422),
    ("GET", f"{USERS}?after=9999999999999999999999", None, 422),
    ("GET", f"{USERS}?search=%00", None, 422),
    ("GET", f"{AUDIT}?before=x", None, 422),
]


def test_what_is_wrong_is_refused(company: Company) -> None:
    kinds = {404: "NotFoundError", 409: "ConflictError", 422: "UnprocessableEntityError"}
    with company.root() as root:
        for method, path, body, status in WRONG:
            assert_error(root.request(method, path, json=body), status, kinds[status])
        assert len(root.get(AUDIT).json()["data"]) == 1  # the first administrator's


def admin_paths() -> list[tuple[str, str]]:
    return [
        (method, route.path.replace("{id}", "1").replace("{token_id}", "1"))
        for route in ROUTES
        if isinstance(route, Route) and route.path.startswith("/api/v1/admin")
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


def test_nobody_else_gets_in(company: Company, serve: Serve) -> None:
    token = company.hire("ann@example.ru")
    paths = admin_paths()
    assert len(paths) >= 16
    with company.client(token) as ann, company.client() as nobody, serve().client() as elsewhere:
        for method, path in paths:
            assert_error(ann.request(method, path, json={}), 403, "ForbiddenError", "Forbidden")
            assert nobody.request(method, path, json={}).status_code == 401
            assert elsewhere.request(method, path, json={}).status_code == 403
