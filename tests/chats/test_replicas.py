"""Chats on several replicas: two apps on one PostgreSQL, and a process that dies."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed

from kodify.chats import mirror, store
from kodify.chats.chats import MISSED
from kodify.engine.scripted import Script
from kodify.settings import Settings
from tests.chats.conftest import Begin, Talk, begin_talk
from tests.conftest import Serve, Served, eventually, free_port
from tests.journal.conftest import as_environment

ENDLESS = Script(endless=True, pause_s=0.01)
SLOW = Script(pieces=tuple(f"word{number} 🙂 " for number in range(30)), pause_s=0.1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def replicas(serve: Serve, chats: dict[str, object]) -> tuple[Served, Served]:
    found = serve(SLOW, **chats), serve(SLOW, **chats)
    for served in found:
        eventually(lambda served=served: bool(served.app.state.ready))  # type: ignore[misc]
    return found


def test_a_socket_follows_what_another_replica_makes(replicas: tuple[Served, Served]) -> None:
    here = begin_talk(replicas[0])
    there = here.at(replicas[1])
    with there.socket("?render=html") as socket:
        told = here.say("Hi")
        events = socket.until("generated")
    statuses = list(dict.fromkeys(event["status"] for event in events))
    assert statuses == ["message", "generating", "delta", "generated"]
    assert (events[0]["message"], events[0]["message_id"]) == ("Hi", told["message_id"])
    assert (events[1]["answer_id"], events[1]["message_id"]) == (told["answer_id"], told["message_id"])
    assert sum(event["status"] == "delta" for event in events) > 2
    assert socket.text == events[-1]["message"] == "".join(SLOW.pieces)
    assert events[-1]["usage"]["completion_tokens"] == 30
    assert not there.engine.jobs


def test_who_comes_back_to_another_replica_gets_what_is_missing(replicas: tuple[Served, Served]) -> None:
    here = begin_talk(replicas[0])
    there = here.at(replicas[1])
    told = here.say("Hi")
    with here.socket() as before:
        before.until("delta")
    offset = sum(len(character.encode("utf-16-le")) // 2 for character in before.text)
    with there.socket(f"?after={told['answer_id']}:{offset}") as socket:
        events = socket.until("generated")
    deltas = [event for event in events if event["status"] == "delta"]
    assert deltas[0]["offset"] == offset
    assert before.text + "".join(event["message"] for event in deltas) == "".join(SLOW.pieces)


def test_any_replica_stops_an_answer(replicas: tuple[Served, Served]) -> None:
    here = begin_talk(replicas[0])
    here.engine.script = ENDLESS
    there = here.at(replicas[1])
    here.say("Hi")
    with there.socket() as socket:
        socket.until("delta")
        assert there.ask("POST", "/send_message", json={"message": "a"}).status_code == 409
        assert there.ask("POST", "/stop").json() == {"stopping": True}
        assert socket.until("generated")[-1]["finish_reason"] == "stopped"
    eventually(lambda: here.engine.cancelled == 1)
    there.say("on with another")
    assert there.answered(status="done")["content"] == "".join(SLOW.pieces)
    assert len(there.engine.jobs) == 1


def test_a_chat_that_is_deleted_is_gone_everywhere(replicas: tuple[Served, Served]) -> None:
    here = begin_talk(replicas[0])
    here.engine.script = ENDLESS
    there = here.at(replicas[1])
    with here.socket() as socket:
        here.say("Hi")
        socket.until("delta")
        assert there.ask("DELETE").status_code == 204
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404
    eventually(lambda: here.engine.cancelled == 1)


class Process:
    """A server of its own, which can be killed."""

    def __init__(self, variables: dict[str, object], folder: Path, **more: str) -> None:
        names = {field.alias for field in Settings.model_fields.values()}
        own = {name: value for name, value in os.environ.items() if name not in names}
        self.port = free_port()
        self.log = (folder / f"log{self.port}").open("w+")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.scripted_server"],
            env={
                **own,
                **as_environment(variables),
                "PORT": str(self.port),
                "PYTHONPATH": str(ROOT),
                "DATA_PATH": str(folder),
                **more,
            },
            cwd=ROOT,
            stdout=self.log,
            stderr=self.log,
        )

    def talk(self, like: Talk) -> Talk:
        return like.at(Served(f"http://127.0.0.1:{self.port}", like.served.app, like.served.engine, like.served.loop))

    def is_ready(self, talk: Talk) -> bool:
        assert self.popen.poll() is None, "it ended"
        try:
            with self.talk(talk).served.client() as client:
                return client.get("/ready").status_code == 200
        except OSError:
            return False
        except Exception as error:
            return type(error).__name__ not in ("ConnectError", "ReadError", "RemoteProtocolError") and False

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(30)
        self.log.close()


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    found: list[Process] = []
    yield found
    for process in found:
        process.end()


def test_an_answer_whose_replica_dies_is_told_as_an_error(
    serve: Serve,
    chats: dict[str, object],
    tmp_path: Path,
    processes: list[Process],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror, "LOST_S", 3.0)
    here = begin_talk(serve(**chats))
    process = Process(chats, tmp_path, SCRIPT="endless", PAUSE_S="0.01")
    processes.append(process)
    eventually(lambda: process.is_ready(here), 60)
    there = process.talk(here)
    with here.socket() as socket:
        told = there.say("Hi")
        socket.until("delta")
        process.popen.send_signal(signal.SIGKILL)
        lost = socket.until("error")[-1]
    assert (lost["answer_id"], lost["message"]) == (told["answer_id"], store.LOST)
    answer = here.answered(status="error", error=store.LOST)
    assert answer["content"].startswith("on and on")
    here.say("again")
    here.answered(status="done")


def test_a_drain_lets_answers_end_and_closes_sockets(
    serve: Serve, chats: dict[str, object], tmp_path: Path, processes: list[Process]
) -> None:
    here, idle = begin_talk(serve(**chats)), begin_talk(serve(**chats))
    process = Process(chats, tmp_path, PAUSE_S="0.2")
    processes.append(process)
    eventually(lambda: process.is_ready(here), 60)
    there = process.talk(here)
    with there.socket() as socket, process.talk(idle).socket() as other:
        there.say("Hi")
        socket.until("delta")
        process.popen.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            other.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert process.popen.poll() is None
        assert socket.until("generated", "error")[-1]["message"] == "piece " * 20
        with pytest.raises(ConnectionClosed) as ended:
            socket.next()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1012
    assert process.popen.wait(30) == 0
    here.answered(status="done", content="piece " * 20)


def test_a_drain_that_takes_too_long_cuts(
    serve: Serve, chats: dict[str, object], tmp_path: Path, processes: list[Process]
) -> None:
    here = begin_talk(serve(**chats))
    process = Process(chats, tmp_path, SCRIPT="endless", PAUSE_S="0.01", DRAIN_TIMEOUT="1")
    processes.append(process)
    eventually(lambda: process.is_ready(here), 60)
    there = process.talk(here)
    there.say("nobody listens")
    with there.socket() as socket:
        socket.until("delta")
        process.popen.send_signal(signal.SIGTERM)
        cut = socket.until("error")[-1]
        assert cut["code"] == 503
        with pytest.raises(ConnectionClosed):
            socket.next()
    assert process.popen.wait(30) == 0
    assert here.messages()[-1]["status"] == "error"


def test_after_an_outage_an_answer_has_time_to_speak(
    begin: Begin, chats: dict[str, object], postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "LOOK_EVERY_S", 0.1)
    talk = begin()
    told = talk.say("Hi")
    talk.answered()
    kept: Any = talk.served.app.state.chats.store
    looks: list[float] = []
    give_up = kept.give_up

    async def counted(queries: Any, lost_s: float) -> None:
        looks.append(lost_s)
        await give_up(queries, lost_s)

    monkeypatch.setattr(kept, "give_up", counted)
    kept._away_at = time.monotonic()
    with psycopg.connect(postgres) as connection:
        connection.execute(
            f"UPDATE {chats['CHATS_TABLE']}_messages SET status = 'generating', beat_at = now() - interval '1 hour' "
            "WHERE id = %s",
            [told["answer_id"]],
        )
    with talk.socket() as socket:
        assert socket.next()["status"] == "generating"
        eventually(lambda: len(looks) >= 5)
        assert talk.history()["messages"][-1]["status"] == "generating"
        kept._away_at = -math.inf
        assert socket.until("error")[-1]["message"] == store.LOST


def test_who_may_have_missed_something_comes_back_for_it(
    begin: Begin, chats: dict[str, object], postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that hears nothing for a while can't know what was said elsewhere."""
    monkeypatch.setattr(store, "LISTEN_CHECK_S", 600.0)  # its last query stays LISTEN
    talk = begin()
    channel = str(chats["CHATS_TABLE"]).replace(".", "_")
    with talk.socket() as socket, psycopg.connect(postgres, autocommit=True) as connection:
        listeners = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE %s"
        ended = connection.execute(listeners, [f'LISTEN "kodify_{channel}"']).fetchone()
        assert ended == (1,)
        with pytest.raises(ConnectionClosed) as closed:
            socket.next()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, MISSED.reason)
    with talk.socket() as socket:
        talk.say("Hi")
        socket.until("generated")
