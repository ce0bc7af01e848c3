"""What an installation lets nobody ask and the model not say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from kodify.censor.moderation import Moderation
from kodify.censor.patterns import Patterns
from kodify.censor.screen import Screen
from kodify.censor.windows import Windows
from kodify.engine.base import Job, Screened, Screener, Vocabulary
from kodify.errors import UnavailableError

TEXTS_AT_ONCE = 16
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Censor:
    """One for each app: patterns, a moderation endpoint, or both."""

    def __init__(
        self,
        patterns: Patterns,
        moderation: Moderation | None,
        registry: CollectorRegistry,
        *,
        checks_prompts: bool = True,
        checks_answers: bool = True,
        open_on_failure: bool = False,
    ) -> None:
        self.patterns = patterns
        self._moderation = moderation
        self.checks_prompts = checks_prompts
        self.checks_answers = checks_answers
        self._open_on_failure = open_on_failure
        counter = Counter("kodify_censor_checks", "Verdicts of the censor on texts.", ["result"], registry=registry)
        self._counted = {result: counter.labels(result) for result in ("passed", "flagged", "failed")}
        self._seconds = Histogram(
            "kodify_censor_seconds",
            "The moderation endpoint's time for a verdict.",
            buckets=_SECONDS,
            registry=registry,
        )

    def screen(self, job: Job, vocabulary: Vocabulary, answer: Screened) -> Screen:
        return Screen(self, vocabulary, job, answer)

    def screener(self, vocabulary: Vocabulary) -> Screener:
        return lambda job, answer: self.screen(job, vocabulary, answer)

    @property
    def check(self) -> Callable[[str], Awaitable[bool]] | None:
        return None if self._moderation is None else self._ask

    async def find_flagged(self, texts: Sequence[str]) -> int | None:
        """The position of one that is flagged. Raises UnavailableError where there is no verdict."""
        waiting = iter(enumerate(texts))

        async def go_on() -> int | None:
            for position, text in waiting:
                if await self.flags(text):
                    return position
            return None

        checks = [asyncio.ensure_future(go_on()) for _ in texts[:TEXTS_AT_ONCE]]
        try:
            for done in asyncio.as_completed(checks):
                if (position := await done) is not None:
                    return position
            return None
        finally:
            for check in checks:
                check.cancel()
            await asyncio.gather(*checks, return_exceptions=True)

    async def flags(self, text: str) -> bool:
        if self.patterns:
            for found in self.patterns.steps(text):
                if found:
                    self._counted["flagged"].inc()
                    return True
                await asyncio.sleep(0)  # a prompt may be long: the engine's answers go on in between
            self._counted["passed"].inc()
        return await self._flags_elsewhere(text) if self._moderation is not None else False

    def count_answer(self, *, flagged: bool) -> None:
        self._counted["flagged" if flagged else "passed"].inc()

    async def stop(self) -> None:
        if self._moderation is not None:
            await self._moderation.stop()

    async def _flags_elsewhere(self, text: str) -> bool:
        verdict = asyncio.Event()
        windows = Windows(self._ask, verdict.set)
        try:
            windows.feed(text, last=True)
            while windows.safe < len(text):
                await verdict.wait()
                verdict.clear()
                if windows.error is not None:
                    raise windows.error
                if windows.flagged:
                    return True
            return False
        finally:
            windows.close()

    async def _ask(self, text: str) -> bool:
        assert self._moderation is not None
        began = time.monotonic()
        try:
            flagged = await self._moderation.flags(text)
        except UnavailableError:
            self._counted["failed"].inc()
            if self._open_on_failure:
                return False
            raise
        self._seconds.observe(time.monotonic() - began)
        self._counted["flagged" if flagged else "passed"].inc()
        return flagged
