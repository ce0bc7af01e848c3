"""The open connections of one app: how many there may be, how patient it is with them, which ones it has cut."""

from __future__ import annotations

import logging
import resource
import sys
from collections import Counter as Tally
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from kodify.settings import Settings

log = logging.getLogger(__name__)

# Who asks whether Kodify is well is answered over a connection too many too.
PROBES = frozenset({b"/health", b"/ready", b"/metrics"})
# Connections beyond the limit that are heard, and told so unless they probe; what comes beyond these is closed at once.
MOST_TOLD = 256
MOST_TOLD_OF_ONE = 16
# Files that are no client's: sockets of the engine, of PostgreSQL, the spool's, logs; and those that are told.
RESERVED_FILES = 256 + MOST_TOLD

Reason = Literal["header_timeout", "body_timeout", "head_too_large", "pipelined", "unread", "too_many"]


class Connections:
    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self.header_timeout_s = settings.header_timeout_s
        self.body_timeout_s = settings.body_timeout_s
        self.keepalive_s = settings.keepalive_s
        self.unread_timeout_s = settings.unread_timeout_s
        self.max_unread_bytes = settings.max_unread_bytes
        self.most = min(settings.max_connections, max(open_files() - RESERVED_FILES, 1))
        self.most_per_address = settings.max_connections_per_address
        self.open = 0
        self.sockets = 0  # of these
        self._by_address: Tally[str] = Tally()
        counter = Counter("kodify_connections_cut", "Connections cut, by reason.", ["reason"], registry=registry)
        self._cut: dict[Reason, Counter] = {reason: counter.labels(reason) for reason in get_args(Reason)}
        Gauge("kodify_connections", "Open connections.", registry=registry).set_function(lambda: self.open)
        Gauge("kodify_websockets", "Open WebSockets.", registry=registry).set_function(lambda: self.sockets)

    def enter(self, address: str) -> bool:
        """Counts a new connection, which must `leave` in any case; False where it is one too many."""
        self.open += 1
        if self.most_per_address is None:
            return self.open <= self.most
        self._by_address[address] += 1
        return self.open <= self.most and self._by_address[address] <= self.most_per_address

    def leave(self, address: str) -> None:
        self.open -= 1
        if self.most_per_address is None:
            return
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def may_tell(self, address: str) -> bool:
        """Whether one that is too many is heard: those of one address must not use up everybody's room."""
        most = self.most_per_address
        if most is not None and self._by_address[address] > most + MOST_TOLD_OF_ONE:
            return False
        return self.open <= self.most + MOST_TOLD

    def count_cut(self, reason: Reason) -> None:
        self._cut[reason].inc()


def open_files() -> int:
    """How many files this process may have open at once."""
    return _plain(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def raise_open_files(max_connections: int) -> None:
    """Lets this process open the files that so many connections need, as far as the hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(max_connections + RESERVED_FILES, _plain(hard))
    if wanted > _plain(soft):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    most = open_files() - RESERVED_FILES
    if most < max_connections:
        log.warning(
            "At most %d connections are taken, not MAX_CONNECTIONS=%d: raise this process's open files (ulimit -n).",
            max(most, 1),
            max_connections,
        )


def _plain(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
