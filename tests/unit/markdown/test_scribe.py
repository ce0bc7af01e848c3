"""Who renders what: one person's texts one after the other, beside those of others."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kodify.markdown import Scribe, render, scribe

LONG = "*a* " * 200


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many texts are rendered at once, by their first word."""
    found: dict[str, int] = {}
    now: dict[str, int] = {}
    lock = threading.Lock()

    def watched(text: str) -> str:
        who = text.split()[0]
        with lock:
            for name in (who, "all"):
                now[name] = now.get(name, 0) + 1
                found[name] = max(found.get(name, 0), now[name])
        html = render(text)
        with lock:
            for name in (who, "all"):
                now[name] -= 1
        return html

    monkeypatch.setattr(scribe, "render", watched)
    return found


async def test_who_asks_for_many_waits_for_their_own(busy: dict[str, int]) -> None:
    own = Scribe()
    asked = [own.render(who, {0: f"{who} {LONG}", 1: f"{who} {LONG}"}) for who in ("ann", "bob", "eve") * 5]
    done = await asyncio.gather(*asked)
    own.stop()
    assert {len(texts) for texts in done} == {2}
    assert done[0][1].startswith("<p>ann <em>a</em>")
    assert (busy["ann"], busy["bob"], busy["eve"]) == (1, 1, 1)
    assert busy["all"] <= scribe.THREADS
    assert not own._turns
