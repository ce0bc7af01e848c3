"""Windows of a growing text, checked elsewhere."""

from __future__ import annotations

import asyncio

from kodify.censor.windows import LARGEST, MOST_AT_ONCE, OVERLAP, STEP, WINDOW, Windows
from kodify.errors import UnavailableError


class Elsewhere:
    """Verdicts come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, asyncio.Future[bool]]] = []
        self.told = 0
        self.windows = Windows(self.check, self._tell)

    def _tell(self) -> None:
        self.told += 1

    async def check(self, text: str) -> bool:
        verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.asked.append((text, verdict))
        return await verdict

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def answer(self, position: int, verdict: bool | Exception) -> None:
        future = self.asked[position][1]
        if isinstance(verdict, Exception):
            future.set_exception(verdict)
        else:
            future.set_result(verdict)
        await self.settle()


async def test_a_step_is_checked_and_its_end_waits_for_the_next_window() -> None:
    elsewhere = Elsewhere()
    windows = elsewhere.windows
    windows.feed("a" * (STEP - 1), last=False)
    await elsewhere.settle()
    assert elsewhere.asked == []
    windows.feed("b", last=False)
    await elsewhere.settle()
    assert [len(text) for text, _ in elsewhere.asked] == [STEP]
    assert windows.safe == 0
    await elsewhere.answer(0, False)
    assert windows.safe == STEP - OVERLAP
    windows.feed("", last=True)
    assert windows.safe == STEP  # nothing came that was not in a window
    windows.close()


async def test_the_stream_goes_on_while_a_window_is_checked() -> None:
    elsewhere = Elsewhere()
    windows = elsewhere.windows
    text = "".join(chr(0x4E00 + position) for position in range(STEP + 10 * WINDOW))
    windows.feed(text[:STEP], last=False)
    await elsewhere.settle()
    for start in range(STEP, len(text), WINDOW):
        windows.feed(text[start : start + WINDOW], last=False)
    await elsewhere.settle()
    assert len(elsewhere.asked) == MOST_AT_ONCE  # the rest waits, and goes in larger ones
    await elsewhere.answer(1, False)
    assert windows.safe == 0  # in their order
    await elsewhere.answer(0, False)
    assert windows.safe == STEP + WINDOW - OVERLAP
    windows.feed("", last=True)
    position = 2
    while position < len(elsewhere.asked):
        await elsewhere.answer(position, False)
        position += 1
    assert windows.safe == len(text)
    covered = ""
    for window, _ in elsewhere.asked:
        assert covered.endswith(window[:OVERLAP]) or not covered
        covered += window[OVERLAP:] if covered else window
    assert covered == text


async def test_a_long_text_goes_in_windows_of_a_bounded_size() -> None:
    elsewhere = Elsewhere()
    elsewhere.windows.feed("x" * (2 * LARGEST), last=True)
    await elsewhere.settle()
    assert [len(text) for text, _ in elsewhere.asked] == [LARGEST, LARGEST, 2 * OVERLAP]
    for position in range(3):
        await elsewhere.answer(position, False)
    assert elsewhere.windows.safe == 2 * LARGEST


async def test_a_flag_and_a_failure_are_told_at_once() -> None:
    for verdict in (True, UnavailableError()):
        elsewhere = Elsewhere()
        elsewhere.windows.feed("x" * (2 * LARGEST), last=True)
        await elsewhere.settle()
        await elsewhere.answer(1, verdict)
        assert elsewhere.told == 1
        assert elsewhere.windows.safe == 0
        assert (elsewhere.windows.flagged, elsewhere.windows.error) == (
            (True, None) if verdict is True else (False, verdict)
        )
        elsewhere.windows.close()
        await elsewhere.settle()
        assert elsewhere.asked[0][1].cancelled()
        assert elsewhere.told == 1


async def test_verdicts_of_one_moment_count_each() -> None:
    elsewhere = Elsewhere()
    elsewhere.windows.feed("x" * (2 * LARGEST), last=True)
    await elsewhere.settle()
    elsewhere.asked[0][1].set_result(False)
    elsewhere.asked[1][1].set_result(True)
    await elsewhere.settle()
    assert elsewhere.windows.flagged
    assert elsewhere.windows.safe <= LARGEST - OVERLAP
    elsewhere.windows.close()


async def test_nothing_to_check_is_safe() -> None:
    elsewhere = Elsewhere()
    elsewhere.windows.feed("", last=True)
    assert elsewhere.windows.safe == 0
    assert elsewhere.asked == []
