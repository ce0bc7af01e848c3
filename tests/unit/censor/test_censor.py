"""Whole texts: the event loop goes on while a long one is searched."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from kodify.censor.censor import Censor
from kodify.censor.patterns import AT_ONCE, Patterns

PIECES = 20


@pytest.mark.parametrize("flagged", [True, False])
async def test_the_loop_goes_on_between_the_pieces_of_a_long_text(flagged: bool) -> None:
    censor = Censor(Patterns(["the secret"]), None, CollectorRegistry())
    end = PIECES * AT_ONCE
    text = "a" * (end - 5) + ("the secret" if flagged else "something") + "a" * AT_ONCE
    search = asyncio.ensure_future(censor.flags(text))
    turns = 0
    while not search.done():
        await asyncio.sleep(0)
        turns += 1
    assert search.result() == flagged
    assert turns >= PIECES
