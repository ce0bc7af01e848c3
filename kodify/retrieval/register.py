"""What a collection here had when it was last closed: whether anything is new can then be told without opening it.

Qdrant's local mode reads every point of every collection when it is opened. The register is a file beside a
collection's own, forgotten before the first writing and written again at the end, so that a process that was killed
leaves none; it counts only while the collection's file is as it was.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from kodify.retrieval.base import About, Held

FORMAT = 2
FILE = "kodify.json"


@dataclass(frozen=True, slots=True)
class Known:
    """`pieces`: of the whole collection, those of documents that are not whole too."""

    about: About
    pieces: int
    held: Mapping[str, Held]


class Register:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Of all collections that are here, known or not, others' too."""
        try:
            return sorted(json.loads((self._folder / "meta.json").read_text(encoding="utf-8"))["collections"])
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def read(self, name: str) -> Known | None:
        """None where the collection has to be opened."""
        if name != Path(name).name:
            return None
        try:
            found = json.loads(self._file(name).read_text(encoding="utf-8"))
            if found["format"] != FORMAT or found["stamp"] != self._stamp(name):
                return None
            held = {path: Held(*one) for path, one in found["held"].items()}
            return Known(About(**found["about"]), int(found["pieces"]), held)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, name: str, known: Known) -> None:
        """Of a collection that is closed."""
        with contextlib.suppress(OSError):  # then it is opened the next time
            held = {path: (one.digest, one.pieces, one.skipped, one.source) for path, one in known.held.items()}
            found = {"format": FORMAT, "stamp": self._stamp(name), "about": asdict(known.about)}
            text = json.dumps({**found, "pieces": known.pieces, "held": held}, ensure_ascii=False)
            fresh = self._file(name).with_suffix(".new")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self._file(name))

    def forget(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._folder / "collection" / name / FILE

    def _stamp(self, name: str) -> list[int]:
        """Raises OSError."""
        own = self._file(name).with_name("storage.sqlite").stat()
        log = self._file(name).with_name("storage.sqlite-wal")
        return [own.st_size, own.st_mtime_ns, log.stat().st_size if log.exists() else 0]
