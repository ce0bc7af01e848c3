"""What an installation lets nobody ask and the model not say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from kodify.censor.moderation import Moderation
from kodify.censor.patterns import Patterns
from kodify.censor.screen import Answer, Screen
from kodify.censor.windows import Windows
from kodify.engine.base import Job, Vocabulary
from kodify.errors import UnavailableError

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

    def screen(self, job: Job, vocabulary: Vocabulary, answer: Answer) -> Screen:
        return Screen(self, vocabulary, job, answer)

    @property
    def check(self) -> Callable[[str], Awaitable[bool]] | None:
        return None if self._moderation is None else self._ask

    async def flags(self, text: str) -> bool:
        if self.patterns:
            for pattern in self.patterns.compiled:
                if pattern.search(text):
                    self._counted["flagged"].inc()
                    return True
                await asyncio.sleep(0)  # a prompt may be long: the engine's answers go on between two patterns
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
