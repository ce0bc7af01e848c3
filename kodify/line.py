"""Who is next: jobs that an engine has no room for wait here, fairly between users and within bounds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from kodify.errors import UnavailableError

FULL = "The server has too many requests waiting. Please try again later"
RESERVED = 8  # one in so many sequences is kept for users who have few running
MOST_AHEAD = 999
AGED_S = 5.0  # who has waited so long and has no more than a fair share is not passed any more
LEAST_WAITING = 64  # by default, for an engine that runs few at once
ROUNDS_WAITING = 4  # by default: what waits is at most so many times what runs at once, in requests and in tokens
STEP_TOKENS = 512  # of the prompts of who has more than a few running, in each of the engine's steps
FEW = 8  # sequences of a user: an editor and its agents
SHARED_S = 3600.0  # who was there so lately may come again


@dataclass(eq=False, slots=True)
class Place:
    """A job's in the line: waiting until it is `granted`, then running. `ahead`: what its user had running then."""

    who: str
    sequences: int
    tokens: int
    is_quick: bool
    since: float = 0.0  # when it began to wait
    granted: bool = False
    ahead: int = 0
    turn: asyncio.Future[None] | None = None


@dataclass(eq=False)
class _User:
    running: int = 0  # sequences
    fed_at: float = 0.0  # the step by which the engine has read this user's prompts
    quick: deque[Place] = field(default_factory=deque)
    others: deque[Place] = field(default_factory=deque)


class Line:
    """One for each engine. Completions go before chats, users with little running before those with much; where too
    many wait, completions are the first to be refused: an editor asks again with the next key.

    An engine reads the prompts of many requests in one long step, which everybody else's next token waits for: where
    there are other users, the prompts of one with many requests are let in step by step.
    """

    def __init__(
        self,
        room: int = 0,
        most_waiting: int | None = None,
        most_tokens: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`room`: the sequences that the engine runs at once, 0 for any number. `most_tokens`: of waiting prompts.
        The bounds are None for none."""
        self._now = now
        self._steps: int | None = None  # None: the engine does not tell of them
        self._last_who: str | None = None
        self._shared_until = 0.0
        self.room = room
        self.most_waiting = most_waiting
        self.most_tokens = most_tokens
        self.running = 0  # sequences
        self.waiting = 0
        self.waiting_tokens = 0
        self.refused: Counter[str] = Counter()  # by kind: completion, chat
        self._reserve = room // RESERVED
        self._users: dict[str, _User] = {}

    def step(self) -> None:
        """The engine has made one more."""
        self._steps = (self._steps or 0) + 1
        if self.waiting and self.running < self.room:
            self._grant_next()

    def refuse_if_full(self, who: str, *, is_quick: bool = False) -> None:
        """Before work is spent on a request that would be refused. Raises UnavailableError."""
        if not self.waiting:
            return
        user = self._users.get(who) or _User()
        if self._fits(user, 1):
            return
        if self._has_its_half(user) or (
            self._is_full(0) and (is_quick or not any(one.quick for one in self._users.values()))
        ):
            self._refuse(is_quick)

    def enter(self, who: str, sequences: int, tokens: int, *, is_quick: bool = False) -> Place:
        """Granted at once where there is room; `leave` must follow. Raises UnavailableError where too many wait."""
        if who != self._last_who:
            if self._last_who is not None:
                self._shared_until = self._now() + SHARED_S
            self._last_who = who
        user = self._users.get(who)
        if user is None:
            user = self._users[who] = _User()
        # Of many at once the engine lets the rest wait itself: here they would wait for ever behind smaller ones.
        place = Place(who, min(sequences, max(1, self.room // 4)) if self.room else sequences, tokens, is_quick)
        if self._fits(user, place.sequences) and not (self.waiting and self._must_wait(user, place)):
            self._grant(user, place)
            return place
        try:
            if self._has_its_half(user):
                self._refuse(is_quick)
            self._make_way(place)
        except UnavailableError:
            self._forget(who, user)
            raise
        self._users[who] = user  # it may have been forgotten with a completion that made way
        place.turn, place.since = asyncio.get_running_loop().create_future(), self._now()
        (user.quick if is_quick else user.others).append(place)
        self.waiting += 1
        self.waiting_tokens += tokens
        return place

    def leave(self, place: Place) -> None:
        """Its job has ended, or nobody waits for it any more."""
        user = self._users.get(place.who)
        if user is None:
            return
        if place.granted:
            place.granted = False
            self.running -= place.sequences
            user.running -= place.sequences
        elif not self._drop(user, place):
            return
        self._forget(place.who, user)
        if self.waiting:
            self._grant_next()

    def _fits(self, user: _User, sequences: int) -> bool:
        if not self.room:
            return True
        if self._is_paced(user):
            return False
        left = self.room - self.running - sequences
        if left < 0 or left >= self._reserve:
            return left >= 0
        return self._is_fair(user, sequences)

    def _is_fair(self, user: _User, sequences: int) -> bool:
        return not user.running or user.running + sequences <= self.room // (len(self._users) + 1)

    def _is_paced(self, user: _User) -> bool:
        """The engine has still to read what this user has sent it."""
        if user.running < FEW or self._steps is None:
            return False
        return user.fed_at - self._steps >= 1 and self._now() < self._shared_until

    def _must_wait(self, user: _User, place: Place) -> bool:
        """Behind the user's own that wait, and behind who has waited too long."""
        return bool(user.quick if place.is_quick else user.others) or self._aged() is not None

    def _aged(self) -> tuple[_User, Place] | None:
        """Who has waited longest, where that is too long for who has a fair share at most: room is kept for it."""
        fair = [
            (user, head)
            for user, head in self._heads()
            if self._is_fair(user, head.sequences) and not self._is_paced(user)
        ]
        oldest = min(fair, key=lambda head: head[1].since, default=None)
        return oldest if oldest is not None and self._now() - oldest[1].since > AGED_S else None

    def _grant(self, user: _User, place: Place) -> None:
        place.granted = True
        place.ahead = min(user.running, MOST_AHEAD)
        user.running += place.sequences
        self.running += place.sequences
        if self._steps is not None:
            user.fed_at = max(user.fed_at, self._steps) + place.tokens / STEP_TOKENS

    def _grant_next(self) -> None:
        while (found := self._next()) is not None:
            user, place = found
            self._drop(user, place)
            self._grant(user, place)
            if place.turn is not None and not place.turn.done():
                place.turn.set_result(None)

    def _next(self) -> tuple[_User, Place] | None:
        """The first that fits: completions before chats, then by what their users have running, then by age."""
        if (aged := self._aged()) is not None:
            return aged if self._fits(aged[0], aged[1].sequences) else None
        heads = sorted(self._heads(), key=lambda head: (not head[1].is_quick, head[0].running, head[1].since))
        return next((head for head in heads if self._fits(head[0], head[1].sequences)), None)

    def _heads(self) -> Iterator[tuple[_User, Place]]:
        for user in self._users.values():
            for queue in (user.quick, user.others):
                if queue:
                    yield user, queue[0]

    def _make_way(self, place: Place) -> None:
        """For a chat the youngest completions go, where that is enough."""
        quick = sorted((p for user in self._users.values() for p in user.quick), key=lambda p: p.since)
        left = self.waiting - len(quick), self.waiting_tokens - sum(p.tokens for p in quick)
        if self._is_full(place.tokens) and (place.is_quick or self._is_full(place.tokens, left)):
            self._refuse(place.is_quick)
        while self._is_full(place.tokens):
            youngest = quick.pop()
            owner = self._users[youngest.who]
            self._drop(owner, youngest)
            self._forget(youngest.who, owner)
            self.refused["completion"] += 1
            if youngest.turn is not None and not youngest.turn.done():
                youngest.turn.set_exception(UnavailableError(FULL, retry_after_s=1))

    def _has_its_half(self, user: _User) -> bool:
        """One user may fill half of the line."""
        waiting = len(user.quick) + len(user.others)
        return self.most_waiting is not None and waiting > 0 and waiting >= self.most_waiting // 2

    def _is_full(self, tokens: int, waiting: tuple[int, int] | None = None) -> bool:
        """A single request may have more tokens than the bound. `waiting`: requests and tokens, those of now or other
        ones."""
        count, waiting_tokens = waiting or (self.waiting, self.waiting_tokens)
        if self.most_waiting is not None and count >= self.most_waiting:
            return True
        return self.most_tokens is not None and count > 0 and waiting_tokens + tokens > self.most_tokens

    def _refuse(self, is_quick: bool) -> NoReturn:
        self.refused["completion" if is_quick else "chat"] += 1
        raise UnavailableError(FULL, retry_after_s=1 if is_quick else 5)

    def _drop(self, user: _User, place: Place) -> bool:
        """Out of its queue; whether it was there."""
        try:
            (user.quick if place.is_quick else user.others).remove(place)
        except ValueError:
            return False
        self.waiting -= 1
        self.waiting_tokens -= place.tokens
        return True

    def _forget(self, who: str, user: _User) -> None:
        if not (user.running or user.quick or user.others):
            self._users.pop(who, None)


def line_for(room: int, kv_cache_tokens: int, most_waiting: int | None, most_tokens: int | None) -> Line:
    """With the bounds that are set, or with those that follow from what the engine runs at once."""
    if not room:
        return Line()
    return Line(
        room,
        max(LEAST_WAITING, ROUNDS_WAITING * room) if most_waiting is None else most_waiting,
        ROUNDS_WAITING * kv_cache_tokens or None if most_tokens is None else most_tokens,
    )
