"""How long chats are kept, where, and what the journal keeps of them."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed

from kodify import verdicts
from kodify.db import migrations
from kodify.db.chats_tables import chats_tables
from kodify.db.database import Database
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.settings import Settings
from tests.api.test_errors import assert_error
from tests.chats.conftest import Begin, Talk, begin_talk
from tests.conftest import Serve, eventually, serving
from tests.journal.conftest import Place, place

__all__ = ["place"]

SECONDS = 1 / 3600
KIND = "POST /api/v1/chat/{chat_id}/send_message"


def rows_of(chats: dict[str, object], postgres: str) -> tuple[int, int]:
    """Of chats and of messages."""
    with psycopg.connect(postgres) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {chats['CHATS_TABLE']}{suffix}").fetchone()
            for suffix in ("", "_messages")
        ]
    assert counts[0] is not None
    assert counts[1] is not None
    return int(counts[0][0]), int(counts[1][0])


def test_an_expired_chat_is_gone_with_all_that_was_said(begin: Begin, chats: dict[str, object], postgres: str) -> None:
    talk = begin(CHAT_HOURS=6 * SECONDS)
    with talk.socket() as socket:
        talk.say("Hi")
        socket.until("generated")
        assert rows_of(chats, postgres) == (1, 2)
        with pytest.raises(ConnectionClosed) as closed:
            socket.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404
    assert_error(talk.ask("GET", "/history"), 404, "NotFoundError")
    assert_error(talk.ask("POST", "/send_message", json={"message": "a"}), 404, "NotFoundError")
    eventually(lambda: rows_of(chats, postgres) == (0, 0))


def test_an_expired_chat_is_not_there_before_it_is_deleted(
    begin: Begin, chats: dict[str, object], postgres: str
) -> None:
    talk = begin()
    talk.say("Hi")
    talk.answered()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"UPDATE {chats['CHATS_TABLE']} SET expires_at = now()")
    assert_error(talk.ask("GET", "/history"), 404, "NotFoundError")
    assert rows_of(chats, postgres) == (1, 2)


def test_every_message_prolongs_it(begin: Begin) -> None:
    talk = begin()
    first = talk.history()["expires_at"]
    talk.say("Hi")
    talk.answered()
    assert talk.history()["expires_at"] > first


def test_chats_outlive_the_server(settings: Settings, chats: dict[str, object]) -> None:
    own = settings.model_copy(update={name.lower(): value for name, value in chats.items()})
    with serving(own, ScriptedEngine()) as served:
        talk = begin_talk(served)
        talk.say("Hi")
        talk.answered()
        kept = talk.history()
    with serving(own, ScriptedEngine()) as served:
        eventually(lambda: bool(served.app.state.ready))
        assert talk.at(served).history() == kept


def test_the_end_of_a_server_ends_its_answers(settings: Settings, chats: dict[str, object]) -> None:
    own = settings.model_copy(update={name.lower(): value for name, value in chats.items()})
    with serving(own, ScriptedEngine(Script(endless=True, pause_s=0.01))) as served:
        talk = begin_talk(served)
        talk.say("Hi")
        eventually(lambda: bool(talk.messages()[-1]["content"]))
    with serving(own, ScriptedEngine()) as served:
        eventually(lambda: bool(served.app.state.ready))
        last = talk.at(served).messages()[-1]
    assert last["status"] == "error"
    assert last["content"].startswith("on and on")


def test_without_its_database_a_chat_is_503_and_all_else_goes_on(serve: Serve) -> None:
    served = serve(CHATS_DB_URL=SecretStr("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1"))
    with served.client() as client:
        eventually(lambda: bool(served.app.state.ready))
        assert_error(client.post("/api/v1/chat", json={}), 503, "ServiceUnavailableError")
        assert client.post("/v1/completions", json={"prompt": "a", "model": "scripted"}).status_code == 200


@pytest.fixture
def journaled(serve: Serve, chats: dict[str, object], place: Place) -> Any:
    def start(script: Script | None = None, **variables: object) -> Talk:
        return begin_talk(serve(script, **{**place.variables, **chats, **variables}))

    return start


def rows(place: Place, count: int) -> list[dict[str, Any]]:
    eventually(lambda: place.count() >= count)
    return place.rows()


def test_the_journal_has_each_answer_once(journaled: Any, place: Place) -> None:
    talk = journaled()
    told = talk.say("Hi")
    talk.answered()
    with talk.socket() as socket:
        socket.send(type="send", message="by the socket")
        socket.until("generated")
    assert_error(talk.ask("POST", "/send_message", json={"message": ""}), 400, "BadRequestError")
    first, second, refused = rows(place, 3)
    assert {row["type"] for row in (first, second, refused)} == {KIND}
    assert first["request"] == {"message": "Hi"}
    assert first["response"]["message"] == "Hello, world"
    assert first["response"]["answer_id"] == told["answer_id"]
    assert (first["status_code"], first["finish_reason"], first["model"]) == (200, "stop", "scripted")
    assert (first["prompt_tokens"], first["completion_tokens"], first["cancelled"]) == (2, 3, False)
    assert second["request"] == {"type": "send", "message": "by the socket"}
    assert second["response"]["message"] == "Hello, world"
    assert refused["status_code"] == 400


def test_the_journal_has_an_answer_that_was_stopped(journaled: Any, place: Place) -> None:
    talk = journaled(Script(endless=True, pause_s=0.01))
    talk.say("Hi")
    eventually(lambda: bool(talk.messages()[-1]["content"]))
    talk.ask("POST", "/stop")
    talk.answered()
    (row,) = rows(place, 1)
    assert (row["status_code"], row["cancelled"]) == (499, True)
    assert row["response"]["message"].startswith("on and on")


def test_temporary_chats_leave_no_content_in_the_journal(journaled: Any, place: Place) -> None:
    talk = journaled(CHATS_TEMPORARY=True)
    talk.say("a secret")
    talk.answered()
    with talk.socket() as socket:
        socket.send(type="send", message="a secret by the socket")
        socket.until("generated")
        socket.send(type="send", message="a secret", edit="x")
        socket.until("error")
    assert talk.ask("POST", "/send_message", json={"message": "a secret", "edit": "x"}).status_code == 404
    talk.engine.script = Script(endless=True, pause_s=0.01)
    talk.say("a secret")
    eventually(lambda: bool(talk.messages()[-1]["content"]))
    talk.ask("POST", "/stop")
    found = rows(place, 5)
    assert [row["status_code"] for row in found] == [200, 200, 404, 404, 499]
    assert {row["type"] for row in found} == {KIND}
    assert [(row["request"], row["response"]) for row in found] == [(None, None)] * 5
    assert found[0]["completion_tokens"] == 3
    assert "secret" not in str(found)


def test_the_spool_has_none_either(journaled: Any, place: Place, tmp_path: Path) -> None:
    talk = journaled(CHATS_TEMPORARY=True)
    talk.say("a secret that is long enough to be found")
    talk.answered()
    rows(place, 1)
    spooled = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert spooled
    assert not any(b"a secret that is long" in data for data in spooled)


@pytest.mark.parametrize("pattern", ["{}", "s_{}.chats"])
async def test_tables_go_up_and_down(postgres: str, tmp_path: Path, pattern: str) -> None:
    tables = chats_tables(pattern.format(f"t_{uuid.uuid4().hex[:12]}"))
    database = Database(postgres, tmp_path)
    await database.open()
    try:
        await asyncio.to_thread(migrations.prepare, database, tables, migrate=False)
        await asyncio.to_thread(migrations.prepare, database, tables, migrate=False)  # as they should be
        await asyncio.to_thread(migrations.check, database, tables)
        await asyncio.to_thread(migrations.downgrade, database, tables)
        await asyncio.to_thread(migrations.prepare, database, tables, migrate=True)
        await asyncio.to_thread(migrations.check, database, tables)
    finally:
        await database.close()


def test_a_table_has_a_name(settings: Settings) -> None:
    wrong = settings.model_copy(update={"chats_table": "a b"})
    assert [problem for problem in verdicts.chats(wrong) if "CHATS_TABLE" in problem]
    assert settings.chats_table_name == "chats"
    assert settings.model_copy(update={"users_table": "company.people"}).chats_table_name == "company.chats"


def test_what_was_said_is_not_in_the_log_where_it_can_not_be_written_down(
    begin: Begin, chats: dict[str, object], postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    talk = begin(Script(endless=True, pause_s=0.01))
    talk.say("Hi")
    with psycopg.connect(postgres) as connection:
        connection.execute(f"ALTER TABLE {chats['CHATS_TABLE']}_messages DROP COLUMN beat_at")
    eventually(lambda: "an answer could not be written down on its way" in caplog.text)
    assert "UndefinedColumn" in caplog.text
    assert "on and on" not in caplog.text  # what an endless answer says
