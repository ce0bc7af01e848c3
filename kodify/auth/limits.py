"""What one user may use: requests a minute and tokens a day over all replicas, requests at once on each of them."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from kodify.db.counters import SharedCounters
from kodify.errors import TooManyRequestsError, UnavailableError

log = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]
Answer = TypeVar("Answer")
ALONE_S = 5  # without the shared counters, before they are tried again
SWEEP_EVERY = 10_000  # requests between two sweeps of counters that are over


@dataclass(frozen=True)
class Allowance:
    """None: without a limit."""

    requests_per_minute: int | None = None
    concurrent: int | None = None
    tokens_per_day: int | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.requests_per_minute, self.concurrent, self.tokens_per_day))


@dataclass
class Admission:
    """A request that was let in; `headers` tell its sender what is left."""

    user_id: int
    headers: Headers = field(default_factory=list)


class UserLimits:
    """Without the database each replica counts for itself until it is back."""

    def __init__(self, allowance: Allowance, counters: SharedCounters) -> None:
        self.allowance = allowance
        self._counters = counters
        self._shared = FixedWindowRateLimiter(counters)
        self._alone = FixedWindowRateLimiter(MemoryStorage())
        self._running: Counter[int] = Counter()
        self._admitted = 0
        self._alone_until = 0.0

    async def admit(self, user_id: int) -> Admission:
        """Raises TooManyRequestsError, whose `headers` say what is left; otherwise `leave` must follow."""
        admission = Admission(user_id)
        most = self.allowance.concurrent
        if most is not None and self._running[user_id] >= most:
            raise refusal(f"At most {most} requests at once are allowed", 1, admission.headers)
        self._running[user_id] += 1
        try:
            await self._check(admission)
        except BaseException:
            self._leave(user_id)
            raise
        return admission

    async def leave(self, admission: Admission, tokens: int) -> None:
        """The request is over and has used so many tokens."""
        self._leave(admission.user_id)
        if self.allowance.tokens_per_day is not None and tokens:
            await self._hit(RateLimitItemPerDay(self.allowance.tokens_per_day), admission.user_id, tokens)

    async def _check(self, admission: Admission) -> None:
        for item, name in self._windows():
            tokens = name == "tokens"
            allowed = await (self._has_left if tokens else self._take)(item, admission.user_id)
            left, reset_s = await self._stats(item, admission.user_id)
            admission.headers += [
                (b"x-ratelimit-limit-" + name.encode(), b"%d" % item.amount),
                (b"x-ratelimit-remaining-" + name.encode(), b"%d" % left),
                (b"x-ratelimit-reset-" + name.encode(), b"%ds" % reset_s),
            ]
            if not allowed:
                period = "a day" if tokens else "a minute"
                raise refusal(f"At most {item.amount} {name} {period} are allowed", reset_s, admission.headers)
        self._admitted += 1
        if self._admitted % SWEEP_EVERY == 0:
            try:
                await self._counters.reset()
            except UnavailableError:
                log.warning("counters that are over could not be swept: the database can't be reached")

    def _windows(self) -> Iterator[tuple[RateLimitItem, str]]:
        if self.allowance.requests_per_minute is not None:
            yield RateLimitItemPerMinute(self.allowance.requests_per_minute), "requests"
        if self.allowance.tokens_per_day is not None:
            yield RateLimitItemPerDay(self.allowance.tokens_per_day), "tokens"

    async def _take(self, item: RateLimitItem, user_id: int) -> bool:
        return await self._hit(item, user_id, 1)

    async def _hit(self, item: RateLimitItem, user_id: int, cost: int) -> bool:
        return await self._ask(lambda limiter: limiter.hit(item, str(user_id), cost=cost))

    async def _has_left(self, item: RateLimitItem, user_id: int) -> bool:
        """Tokens are known when they are used: a request is let in while there is one left."""
        return await self._ask(lambda limiter: limiter.test(item, str(user_id)))

    async def _stats(self, item: RateLimitItem, user_id: int) -> tuple[int, int]:
        """(left, seconds until it starts again)."""
        stats = await self._ask(lambda limiter: limiter.get_window_stats(item, str(user_id)))
        return max(0, stats.remaining), max(1, math.ceil(stats.reset_time - time.time()))

    async def _ask(self, question: Callable[[FixedWindowRateLimiter], Awaitable[Answer]]) -> Answer:
        """Of the shared counters; after one of them could not be reached, for a while of our own."""
        if time.monotonic() >= self._alone_until:
            try:
                return await question(self._shared)
            except UnavailableError:
                self._alone_until = time.monotonic() + ALONE_S
        return await question(self._alone)

    def _leave(self, user_id: int) -> None:
        self._running[user_id] -= 1
        if not self._running[user_id]:
            del self._running[user_id]


def refusal(reason: str, retry_after_s: int, headers: Headers) -> TooManyRequestsError:
    return TooManyRequestsError(f"{reason}. Please try again later", retry_after_s=retry_after_s, headers=headers)
