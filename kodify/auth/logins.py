"""How often somebody may try a password: per address and per account."""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from kodify.errors import TooManyRequestsError

PER_ADDRESS = RateLimitItemPerMinute(20)
PER_ACCOUNT = RateLimitItemPerMinute(5)


class LoginLimits:
    """Of this process: with replicas, each allows as many."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, address: str, account: str) -> None:
        """Counts a try. Raises TooManyRequestsError with the seconds to wait."""
        for limit, key in ((PER_ADDRESS, f"address {address}"), (PER_ACCOUNT, f"account {account}")):
            if not self._limiter.hit(limit, key):
                wait_s = self._limiter.get_window_stats(limit, key).reset_time - time.time()
                raise TooManyRequestsError(retry_after_s=max(1, math.ceil(wait_s)))
