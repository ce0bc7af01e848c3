"""Who is next where an engine has no room: fairly between users, completions first, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from kodify.engine.scripted import ScriptedEngine
from kodify.engine.vllm_loading import Pulse
from kodify.engines import Engines, Served
from kodify.errors import UnavailableError
from kodify.line import FEW, SHARED_S, STEP_TOKENS, Line, Place, line_for


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    return run


def enter(line: Line, who: str, count: int = 1, *, quick: bool = False, tokens: int = 10) -> list[Place]:
    return [line.enter(who, 1, tokens, is_quick=quick) for _ in range(count)]


def running(line: Line, places: list[Place]) -> int:
    return sum(place.granted for place in places)


@in_loop
async def test_without_a_room_everybody_runs() -> None:
    line = Line()
    assert running(line, enter(line, "a", 500)) == 500


@in_loop
async def test_a_user_who_fills_the_engine_leaves_room_for_another() -> None:
    line = Line(room=16, most_waiting=1000)
    heavy = enter(line, "heavy", 500)
    assert running(line, heavy) == 14  # an eighth is kept
    (light,) = enter(line, "light")
    assert light.granted
    assert light.ahead == 0
    assert heavy[13].ahead == 13
    line.leave(heavy[0])
    assert running(line, heavy) == 13  # fourteen and the light one were too many
    line.leave(light)
    assert running(line, heavy) == 14


@in_loop
async def test_who_has_less_running_goes_first_and_each_in_order() -> None:
    line = Line(room=4, most_waiting=100)
    first = enter(line, "a", 4)
    assert running(line, first) == 4
    waiting = {who: enter(line, who, 3) for who in ("a", "b")}
    order = []
    for done in [*first, *waiting["b"], *waiting["a"]]:
        before = {id(place) for places in waiting.values() for place in places if place.granted}
        line.leave(done)
        order += [p.who for ps in waiting.values() for p in ps if p.granted and id(p) not in before]
    assert order == ["b", "b", "a", "a", "b", "a"]
    assert (line.running, line.waiting, line.waiting_tokens) == (0, 0, 0)


@in_loop
async def test_completions_go_before_chats() -> None:
    line = Line(room=1, most_waiting=100)
    (only,) = enter(line, "a")
    (chat,) = enter(line, "b")
    (completion,) = enter(line, "a", quick=True)
    line.leave(only)
    assert (completion.granted, chat.granted) == (True, False)


@in_loop
async def test_where_too_many_wait_completions_are_refused_before_chats() -> None:
    line = Line(room=1, most_waiting=4)
    enter(line, "a")
    completions = [*enter(line, "b", 2, quick=True), *enter(line, "c", 2, quick=True)]
    with pytest.raises(UnavailableError) as caught:
        enter(line, "d", quick=True)
    assert caught.value.retry_after_s == 1
    (chat,) = enter(line, "d")  # in the place of the youngest completion
    assert [place.turn is not None and place.turn.done() for place in completions] == [False, False, False, True]
    with pytest.raises(UnavailableError):
        await completions[-1].turn  # type: ignore[misc]
    line.leave(completions[-1])  # as whoever waited for it does
    enter(line, "d")
    for who in ("e", "f"):
        enter(line, who)
    with pytest.raises(UnavailableError) as caught:
        enter(line, "g")
    assert caught.value.retry_after_s == 5
    assert line.waiting == 4
    assert line.refused == {"completion": 5, "chat": 1}
    assert not chat.granted
    for place in completions:
        if place.turn is not None and place.turn.done():
            place.turn.exception()


@in_loop
async def test_one_user_can_t_fill_the_line() -> None:
    line = Line(room=1, most_waiting=10)
    enter(line, "a", 6)  # one runs, five wait
    with pytest.raises(UnavailableError):
        line.refuse_if_full("a")
    with pytest.raises(UnavailableError):
        enter(line, "a")
    line.refuse_if_full("b")
    enter(line, "b", 5)
    for who in ("b", "c"):
        with pytest.raises(UnavailableError):
            line.refuse_if_full(who)


@in_loop
async def test_waiting_tokens_are_bounded_but_one_request_always_fits() -> None:
    line = Line(room=1, most_waiting=100, most_tokens=1000)
    enter(line, "a")
    (huge,) = enter(line, "a", tokens=5000)
    with pytest.raises(UnavailableError):
        enter(line, "b", tokens=1)
    line.leave(huge)
    enter(line, "b", 10, tokens=100)
    with pytest.raises(UnavailableError):
        enter(line, "c", tokens=1)


@in_loop
async def test_a_request_for_more_than_the_room_waits_for_a_part_of_it_only() -> None:
    line = Line(room=8, most_waiting=100)
    many = line.enter("a", 100, 10)
    assert many.granted
    assert line.running == 2


@in_loop
async def test_a_large_request_is_not_passed_for_ever() -> None:
    now = 0.0
    line = Line(room=8, most_waiting=100, now=lambda: now)
    small = [line.enter(f"u{number}", 1, 10) for number in range(8)]
    large = line.enter("large", 2, 10)
    line.leave(small[0])
    passing = line.enter("late", 1, 10)
    assert (large.granted, passing.granted) == (False, True)
    now = 10.0
    line.leave(small[1])
    stopped = line.enter("later", 1, 10)
    assert (large.granted, stopped.granted) == (False, False)
    line.leave(small[2])
    assert large.granted
    line.leave(small[3])
    assert stopped.granted


@in_loop
async def test_who_has_too_much_running_is_passed_however_long_it_waits() -> None:
    now = 0.0
    line = Line(room=16, most_waiting=1000, now=lambda: now)
    heavy = enter(line, "heavy", 100)
    now = 100.0
    assert running(line, heavy) == 14
    assert running(line, enter(line, "light")) == 1


@in_loop
async def test_a_chat_that_aged_goes_before_completions() -> None:
    now = 0.0
    line = Line(room=1, most_waiting=100, now=lambda: now)
    (first,) = enter(line, "a")
    (chat,) = enter(line, "b")
    now = 10.0
    (completion,) = enter(line, "c", quick=True)
    line.leave(first)
    assert (chat.granted, completion.granted) == (True, False)


@in_loop
async def test_completions_make_way_only_where_that_helps() -> None:
    line = Line(room=1, most_waiting=100, most_tokens=100)
    enter(line, "a")
    (chat,) = enter(line, "b", tokens=80)
    (completion,) = enter(line, "c", quick=True, tokens=10)
    with pytest.raises(UnavailableError):
        enter(line, "d", tokens=50)
    assert completion.turn is not None
    assert not completion.turn.done()
    assert not chat.granted


@in_loop
async def test_who_gives_up_leaves_nothing_behind() -> None:
    line = Line(room=1, most_waiting=100)
    (first,) = enter(line, "a")
    given_up, next_one = enter(line, "b", 2)
    line.leave(given_up)
    line.leave(given_up)
    line.leave(first)
    assert next_one.granted
    line.leave(next_one)
    line.leave(next_one)
    assert (line.running, line.waiting, line.waiting_tokens, line._users) == (0, 0, 0, {})


@in_loop
async def test_any_order_of_comings_and_goings_keeps_the_books() -> None:
    chance = random.Random(7)
    line = Line(room=8, most_waiting=20, most_tokens=2000)
    here: list[Place] = []
    for _ in range(20_000):
        if chance.random() < 0.2:
            line.step()
        if chance.random() < 0.55:
            who, sequences, tokens = (
                chance.choice("abcdefghij"),
                chance.choice((1, 1, 1, 3, 50)),
                chance.randint(0, 500),
            )
            with contextlib.suppress(UnavailableError):
                here.append(line.enter(who, sequences, tokens, is_quick=chance.random() < 0.5))
        elif here:
            line.leave(here.pop(chance.randrange(len(here))))
        for place in here:
            if place.turn is not None and place.turn.done() and not place.granted:
                assert isinstance(place.turn.exception(), UnavailableError)
        evicted = [p for p in here if p.turn is not None and p.turn.done() and p.turn.exception() is not None]
        for place in evicted:
            here.remove(place)
            line.leave(place)
        granted, waiting = [p for p in here if p.granted], [p for p in here if not p.granted]
        assert line.running == sum(p.sequences for p in granted) <= 8
        assert (line.waiting, line.waiting_tokens) == (len(waiting), sum(p.tokens for p in waiting))
        assert line.waiting <= 20
        assert set(line._users) == {p.who for p in here}
        assert granted or not waiting
    for place in here:
        line.leave(place)


@in_loop
async def test_many_prompts_of_one_among_others_are_let_in_step_by_step() -> None:
    line = Line(room=64, most_waiting=1000)
    line.step()
    enter(line, "light")
    heavy = enter(line, "heavy", 40, tokens=STEP_TOKENS // 2)
    counts = []
    for _ in range(6):
        counts.append(running(line, heavy))
        line.step()
    assert counts == [FEW, FEW, FEW, FEW, FEW + 2, FEW + 4]  # a few at once, then those are read first, then two a step
    assert running(line, enter(line, "other", tokens=5 * STEP_TOKENS)) == 1  # what is let in of one costs no other
    for place in heavy[:2]:
        line.leave(place)
    assert running(line, heavy) == FEW + 6 - 2  # an end alone lets nobody in


@in_loop
async def test_who_is_alone_or_has_a_few_running_is_let_in_at_once() -> None:
    now = 0.0
    line = Line(room=64, most_waiting=1000, now=lambda: now)
    line.step()
    alone = enter(line, "alone", 40, tokens=STEP_TOKENS)
    assert running(line, alone) == 40
    assert running(line, enter(line, "another", FEW, tokens=10 * STEP_TOKENS)) == FEW
    for place in alone:
        line.leave(place)
    now = SHARED_S + 1  # the other one has gone home
    again = enter(line, "alone", 40, tokens=STEP_TOKENS)
    assert running(line, again) < 40  # who was there last came back after it
    now = 2 * SHARED_S + 2
    line.step()
    assert running(line, again) == 40
    assert running(line, enter(line, "alone", 4, tokens=STEP_TOKENS)) == 4


@in_loop
async def test_an_engine_that_tells_of_no_steps_gets_all_it_has_room_for() -> None:
    line = Line(room=64, most_waiting=1000)
    enter(line, "light")
    assert running(line, enter(line, "heavy", 40, tokens=10 * STEP_TOKENS)) == 40


@in_loop
async def test_who_waits_for_the_engine_to_read_keeps_no_place_from_others_however_long() -> None:
    now = 0.0
    line = Line(room=64, most_waiting=1000, now=lambda: now)
    line.step()
    enter(line, "light")
    heavy = enter(line, "heavy", FEW + 2, tokens=100 * STEP_TOKENS)
    assert running(line, heavy) == FEW
    now = 100.0
    assert running(line, enter(line, "light", 3)) == 3


@in_loop
async def test_the_line_hears_of_an_engine_s_steps() -> None:
    told: list[object] = []
    output_processor = SimpleNamespace(update_scheduler_stats=told.append, request_states={})
    engine: Any = ScriptedEngine(most_running=64)
    engine.on_step = lambda: None
    Pulse(SimpleNamespace(output_processor=output_processor), 60, lambda: engine.on_step())
    engines = Engines([Served(engine)], most_waiting=1000)
    await engines.start()
    line = engines.all[0].line
    output_processor.update_scheduler_stats("stats")
    enter(line, "light")
    heavy = enter(line, "heavy", FEW + 2, tokens=STEP_TOKENS)
    assert running(line, heavy) == FEW
    for _ in range(FEW):
        output_processor.update_scheduler_stats("stats")
    assert running(line, heavy) == FEW + 1
    assert told == ["stats"] * (FEW + 1)


def test_the_bounds_follow_from_the_engine() -> None:
    line = line_for(256, 100_000, None, None)
    assert (line.room, line.most_waiting, line.most_tokens) == (256, 1024, 400_000)
    assert line_for(256, 100_000, 0, 7).most_waiting == 0
    assert line_for(1, 100_000, None, None).most_waiting == 64
    assert line_for(0, 0, 5, 5).most_waiting is None
