"""The journal by `/api/v1/admin`: pages that fit, an entry with its contents, figures; who read is written down."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from psycopg import sql

from kodify.db import journal_rows
from kodify.db.journal import partition_name
from kodify.db.journal_access import MOST_ASKED, JournalAccess
from kodify.db.places import journal_database
from kodify.errors import UnavailableError
from kodify.settings import Settings
from tests.admin.conftest import Office
from tests.api.test_errors import assert_error
from tests.auth.test_users import ROOT, Company
from tests.conftest import Served, eventually
from tests.journal.conftest import Place
from tests.journal.test_acceptance import with_variables

API = "/api/v1/admin"
HELLO = {"model": "", "messages": [{"role": "user", "content": "the secret of the soup"}]}


def entries(client: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    answer = client.get(f"{API}/journal", params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def ask(served: Served, token: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    with served.client(authorization=f"Bearer {token}", **(headers or {})) as client:
        return client.post("/v1/chat/completions", json={**HELLO, **more})


@pytest.fixture
def company(office: Office) -> Company:
    return office()


def test_an_entry_is_found_by_what_is_known_of_it_and_read_whole(company: Company, place: Place) -> None:
    ann, bob = company.hire("ann@example.ru"), company.hire("bob@example.ru")
    ask(company.served, ann, headers={"x-request-id": "soup-1"})
    ask(company.served, bob, headers={"x-request-id": "soup-2"}, stream=True)
    ask(company.served, bob, model="nothing")
    eventually(lambda: place.count() == 3)
    with company.root() as root:
        missing, second, first = entries(root)
        assert (first["username"], first["type"]) == ("ann@example.ru", "POST /v1/chat/completions")
        assert not {"request", "response", "config"} & set(first)
        cases: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
            ({"user": "ann@example.ru"}, [first]),
            ({"user": "127.0.0.1"}, [missing, second, first]),
            ({"user": "ann"}, []),
            ({"errors": True}, [missing]),
            ({"status": 404}, [missing]),
            ({"status": "2xx"}, [second, first]),
            ({"status": "5xx"}, []),
            ({"model": "nothing"}, [missing]),
            ({"route": "/v1/chat/completions"}, [missing, second, first]),
            ({"route": "POST /v1/chat/completions", "status": 404}, [missing]),
            ({"route": "/v1/completions"}, []),
            ({"id": "soup"}, [second, first]),
            ({"id": "soup-1"}, [first]),
            ({"id": second["id"]}, [second]),
            ({"id": missing["request_id"]}, [missing]),
            ({"id": "%"}, []),
            ({"until": "1h"}, []),
            ({"since": "1h"}, [missing, second, first]),
            ({"since": first["request_dt"], "until": second["request_dt"]}, [first]),
            ({"user": ""}, [missing, second, first]),
        ]
        for params, expected in cases:
            assert entries(root, **params) == expected, params
        answer = root.get(f"{API}/journal/{first['id']}")
        assert answer.headers["cache-control"] == "no-store"
        whole = answer.json()
        assert {name: whole[name] for name in first} == first
        assert whole["request"] == HELLO
        assert whole["response"]["choices"][0]["message"]["content"] == "Hello, world"
        assert whole["config"]["DB_URL"] == "********"
        assert str(whole["config_id"]) == first["config_id"]
        (act,) = root.get(f"{API}/audit", params={"search": "read journal"}).json()["data"]
        assert (act["actor"], act["target"]) == (ROOT, first["id"])
        assert act["detail"].startswith("POST /v1/chat/completions of ann@example.ru, 20")


def test_pages_follow_one_another_without_gaps_also_within_a_moment(company: Company, place: Place) -> None:
    ask(company.served, company.root_token)
    eventually(lambda: place.count() == 1)
    moment = datetime(2026, 11, 1, 12, tzinfo=UTC)
    write(place, [(moment + timedelta(seconds=second // 3), {}) for second in range(10)])
    with company.root() as root:
        whole = entries(root, since="2026-11-01", until="2026-11-02")
        assert len(whole) == 10
        found: list[dict[str, Any]] = []
        after: str | None = ""
        while after is not None:
            params: dict[str, str | int] = {"since": "2026-11-01", "until": "2026-11-02", "limit": 4, "after": after}
            page = root.get(f"{API}/journal", params=params).json()
            found += page["data"]
            after = page["next"]
        assert found == whole


def test_figures_are_the_journals(company: Company, place: Place) -> None:
    ask(company.served, company.root_token)
    eventually(lambda: place.count() == 1)
    first, second = datetime(2026, 11, 1, 12, tzinfo=UTC), datetime(2026, 11, 3, 23, 59, tzinfo=UTC)
    write(
        place,
        [
            (first, {"username": "ann", "prompt_tokens": 10, "completion_tokens": 5, "ttft_ms": 100.0}),
            (first, {"username": "ann", "prompt_tokens": 1, "completion_tokens": 1, "ttft_ms": 300.0}),
            (second, {"username": "bob", "status_code": 500, "model": "other"}),
            (second, {"username": "bob", "status_code": 499, "cancelled": True, "type": "POST /infill"}),
        ],
    )
    period = {"since": "2026-11-01", "until": "2026-11-04"}
    with company.root() as root:

        def usage(by: str, **more: Any) -> dict[str, Any]:
            answer = root.get(f"{API}/usage", params={**period, "by": by, **more})
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        days = usage("day")
        assert (days["since"], days["until"]) == ("2026-11-01T00:00:00+00:00", "2026-11-04T00:00:00+00:00")
        total = days["total"]
        assert (total["requests"], total["errors"], total["cancelled"], total["users"]) == (4, 1, 1, 2)
        assert (total["prompt_tokens"], total["completion_tokens"]) == (11, 6)
        assert (total["ttft_p50_ms"], total["ttft_p95_ms"]) == (200, 290)
        assert [(row["key"], row["requests"]) for row in days["data"]] == [("2026-11-01", 2), ("2026-11-03", 2)]
        assert {(row["key"], row["errors"]) for row in usage("user")["data"]} == {("ann", 0), ("bob", 1)}
        models = [(row["key"], row["requests"]) for row in usage("model")["data"]]
        assert models == [("coder", 3), ("other", 1)]
        assert usage("route", limit=1)["left_off"] == 1
        assert usage("day", since="2026-11-05", until="2026-11-06")["data"] == []


def test_acceptance_is_of_what_editors_have_shown(company: Company, place: Place) -> None:
    ask(company.served, company.root_token)
    eventually(lambda: place.count() == 1)
    rows = [("a", "python", True), ("b", "python", False), ("c", "go", True), ("d", None, False)]
    with psycopg.connect(place.address, autocommit=True) as connection:
        for name, language, accepted in rows:
            connection.execute(
                "INSERT INTO completion_views (completion_id, choice_index, username, language, model, shown_at, "
                "accepted_at, elapsed_ms, characters, lines, seen_at) "
                "VALUES (%s, 0, 'ann', %s, 'coder', now(), %s, 400, 20, 2, now())",
                [name, language, datetime.now(UTC) if accepted else None],
            )
    with company.root() as root:
        found = root.get(f"{API}/acceptance", params={"by": "language"}).json()
        assert {row["key"]: (row["shown"], row["accepted"]) for row in found["data"]} == {
            "python": (2, 1),
            "go": (1, 1),
            None: (1, 0),
        }
        assert (found["total"]["acceptance_rate"], found["total"]["accepted_lines"]) == (0.5, 4)
        assert len(root.get(f"{API}/acceptance").json()["data"]) == 1


ODD = (
    "usage?since=soon", "usage?until=7x", "usage?by=hour", "usage?by=language", "usage?limit=0", "acceptance?by=route",
    "journal?status=7", "journal?status=200,300", "journal?limit=501", "journal?user=%00", "journal?since=999999w",
    "journal?errors=perhaps", "journal?after=x", "journal?after=2026-11-01T00:00:00+00:00~x",
    "journal?after=2026-11-01T00:00:00~01990000-0000-7000-8000-000000000000",
)  # fmt: skip


def test_odd_questions_are_422(company: Company) -> None:
    with company.root() as root:
        for query in ODD:
            assert_error(root.get(f"{API}/{query}"), 422, "UnprocessableEntityError")


def test_an_entry_that_is_not_there_is_404_and_nobody_has_read_it(company: Company) -> None:
    with company.root() as root:
        unknown = UUID(bytes=journal_rows.make_id(1_700_000_000_000_000))
        for name in (str(unknown), "soup", "01"):
            assert_error(root.get(f"{API}/journal/{name}"), 404, "NotFoundError", "The journal has no such entry.")
        assert root.get(f"{API}/audit", params={"search": "read journal"}).json()["data"] == []


def test_contents_come_as_they_were_written(company: Company, place: Place) -> None:
    ask(company.served, company.root_token)
    eventually(lambda: place.count() == 1)
    odd = '{"n": 1e131071, "big": 123456789012345678901234567890, "text": "größe \\ud83d\\ude42"}'
    (entry_id,) = write(place, [(datetime.now(UTC), {"request": odd, "response": None})])
    with company.root() as root:
        answer = root.get(f"{API}/journal/{entry_id}")
    assert odd in answer.text
    assert answer.json()["response"] is None


def test_without_a_journal_its_doors_say_so(office: Office) -> None:
    with office(LOGS=False).root() as root:
        for path in ("usage", "acceptance", "journal", f"journal/{UUID(int=0)}"):
            assert_error(root.get(f"{API}/{path}"), 404, "NotFoundError", "There is no journal here: LOGS is off.")


async def test_reading_can_change_nothing_and_ends_in_time(
    company: Company, place: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(company.served, company.root_token)
    eventually(lambda: place.count() == 1)
    access = JournalAccess(journal_database(with_variables(settings, place)), timeout_s=3)
    try:
        with pytest.raises(UnavailableError, match="can't be reached"):
            await access.ask(lambda journal: journal._connection.execute("DELETE FROM journal"))
        with pytest.raises(UnavailableError, match=r"did not find it in 3 s"):
            await access.ask(lambda journal: journal._connection.execute("SELECT pg_sleep(30)"))
        assert len(await access.ask(lambda journal: journal.newest(10))) == 1
        with psycopg.connect(place.address, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            )
        assert len(await access.ask(lambda journal: journal.newest(10))) == 1  # on a connection that is new
        asked = [asyncio.ensure_future(access.ask(lambda journal: time.sleep(0.2))) for _ in range(MOST_ASKED + 1)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        refused = [one for one in asked if one.done() and one.exception() is not None]
        assert [str(one.exception()) for one in refused] == ["Too much is asked of the journal. Please try again later"]
    finally:
        await access.stop()
    assert place.count() == 1


def write(place: Place, rows: list[tuple[datetime, dict[str, Any]]]) -> list[UUID]:
    """Entries of then, beside what the server has written; returns their ids."""
    written = []
    with psycopg.connect(place.address, autocommit=True) as connection:
        (config,) = connection.execute("SELECT id FROM journal_configs").fetchone() or (None,)
        for moment, fields in rows:
            entry_id = UUID(bytes=journal_rows.make_id(int(moment.timestamp() * 1e6)))
            values = {
                "id": entry_id, "request_dt": moment, "response_dt": moment, "type": "POST /v1/chat/completions",
                "status_code": 200, "config_id": config, "duration_ms": 1.0, "cancelled": False, "model": "coder",
                **fields,
            }  # fmt: skip
            month = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            following = (month + timedelta(days=32)).replace(day=1)
            connection.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF journal FOR VALUES FROM ({}) TO ({})").format(
                    sql.Identifier(partition_name((month.year, month.month))),
                    sql.Literal(month),
                    sql.Literal(following),
                )
            )
            connection.execute(
                sql.SQL("INSERT INTO journal ({}) VALUES ({})").format(
                    sql.SQL(", ").join(map(sql.Identifier, values)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(values)),
                ),
                list(values.values()),
            )
            written.append(entry_id)
    return written
