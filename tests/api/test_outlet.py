"""The way of an answer's bytes: what is written in one turn of the loop leaves together, in order, and never raises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from kodify.api.outlet import EVENT_STREAM, Outlet, Turn


class Client:
    """A server's `send`: keeps the messages, or makes the outlet wait while `slow`, or breaks."""

    def __init__(self, *, slow: bool = False, error: Exception | None = None) -> None:
        self.messages: list[Message] = []
        self.reads = asyncio.Event()
        if not slow:
            self.reads.set()
        self.error = error

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        if self.error is not None:
            raise self.error
        self.messages.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.messages if message["type"] == "http.response.body"]


def opened(client: Client, turn: Turn) -> Outlet:
    outlet = Outlet(turn, client.send)
    outlet.open(200, EVENT_STREAM)
    return outlet


async def test_a_turns_writes_leave_at_its_end_in_one_send_for_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    clients, turn = [Client() for _ in range(3)], Turn()
    outlets = [opened(client, turn) for client in clients]
    scheduled: list[Any] = []
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon

    def count(*args: Any, **kwargs: Any) -> asyncio.Handle:
        scheduled.append(args)
        return call_soon(*args, **kwargs)

    monkeypatch.setattr(loop, "call_soon", count)
    for word in (b"a", b"b"):
        for outlet in outlets:
            outlet.write(word)
    assert len(scheduled) == 1
    assert not any(client.messages for client in clients)
    await asyncio.sleep(0)
    assert [client.bodies for client in clients] == [[b"ab"]] * 3
    outlets[0].write(b"c", last=True)
    await asyncio.sleep(0)
    assert clients[0].bodies == [b"ab", b"c"]
    assert [message.get("more_body") for message in clients[0].messages] == [None, True, False]


async def test_while_a_client_is_slow_what_is_written_waits_and_leaves_together() -> None:
    client, quick, turn = Client(slow=True), Client(), Turn()
    outlet, other = opened(client, turn), opened(quick, turn)
    for word in (b"a", b"b", b"c"):
        outlet.write(word)
        other.write(word)
        await asyncio.sleep(0)
    assert client.messages == []
    assert quick.bodies == [b"a", b"b", b"c"]
    outlet.write(b"d", last=True)
    client.reads.set()
    await outlet.drained()
    assert b"".join(client.bodies) == b"abcd"
    assert client.messages[-1]["more_body"] is False


async def test_an_answer_that_was_just_written_is_drained() -> None:
    client = Client()
    outlet = Outlet(Turn(), client.send)
    outlet.answer(b"{}")
    await outlet.drained()
    assert client.bodies == [b"{}"]
    await asyncio.sleep(0)
    assert client.bodies == [b"{}"]


@pytest.mark.parametrize("error", [ConnectionResetError(), RuntimeError("a bug of the server")])
@pytest.mark.parametrize("slow", [False, True])
async def test_a_send_that_fails_closes_its_answer_and_no_other(error: Exception, slow: bool) -> None:
    broken, whole, turn = Client(error=error, slow=slow), Client(), Turn()
    told: list[bool] = []
    outlets = [Outlet(turn, broken.send, on_broken=lambda: told.append(True)), opened(whole, turn)]
    outlets[0].open(200, EVENT_STREAM)
    for outlet in outlets:
        outlet.write(b"a")
    await asyncio.sleep(0)
    broken.reads.set()
    await outlets[0].drained()
    assert outlets[0].closed
    assert told == ([] if isinstance(error, OSError) else [True])
    assert whole.bodies == [b"a"]


@pytest.mark.parametrize("slow", [False, True])
async def test_what_must_come_before_an_answers_end_does(slow: bool) -> None:
    """Whichever way the last bytes take: at the turn's end, or by the task of an outlet whose client was slow."""
    events: list[str] = []

    class Noting(Client):
        async def send(self, message: Message) -> None:
            await super().send(message)
            events.append(f"sent, more: {message.get('more_body')}")

    client = Noting(slow=slow)
    outlet = opened(client, Turn(lambda: events.append("settled")))
    outlet.write(b"a")
    await asyncio.sleep(0)
    assert "settled" not in events
    client.reads.set()
    await asyncio.sleep(0)
    outlet.write(b"b", last=True)
    await outlet.drained()
    assert events.index("settled") < events.index("sent, more: False")
    assert events.count("settled") == 1


async def test_nothing_is_sent_once_the_client_has_left() -> None:
    client = Client()
    outlet = opened(client, Turn())
    outlet.write(b"a")
    outlet.abandon()
    outlet.write(b"b")
    await asyncio.sleep(0)
    assert client.messages == []


def test_a_loop_that_ended_in_the_middle_of_a_turn_leaves_nothing_to_the_next() -> None:
    turn = Turn()

    async def write(client: Client) -> None:
        opened(client, turn).write(b"a")
        await asyncio.sleep(0)

    lost, kept = Client(), Client()
    loop = asyncio.new_event_loop()
    loop.call_soon(lambda: opened(lost, turn).write(b"a"))
    loop.call_soon(loop.stop)  # before the end of the turn, which is the next thing to run
    loop.run_forever()
    loop.close()
    asyncio.run(write(kept))
    assert (lost.bodies, kept.bodies) == ([], [b"a"])
