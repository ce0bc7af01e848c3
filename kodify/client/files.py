"""A file, or some lines of it, as the command line names it; and writing it anew."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kodify.actions.diff import DoesNotApplyError, patch
from kodify.client.asking import RefusedError

_LINES = re.compile(r"^(?P<path>.+?):(?P<first>\d+)(?:-(?P<last>\d+))?$")
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """`path`: None for standard input. `data`: the file as it was read."""

    path: Path | None
    data: bytes
    text: str
    selection: tuple[int, int] | None = None

    @property
    def shown(self) -> str | None:
        """As diffs name it: from the working directory, or the name alone where it is elsewhere."""
        if self.path is None:
            return None
        try:
            return self.path.absolute().relative_to(Path.cwd()).as_posix()
        except ValueError:
            return self.path.name

    def apply(self, diff: str) -> None:
        """Writes the file anew, as a whole or not at all, if it is still what was read. Raises RefusedError."""
        if self.path is None:
            raise RefusedError("Standard input can't be written: name a file.")
        try:
            new = patch(self.text, diff).encode()
        except DoesNotApplyError as error:
            raise RefusedError(f"The diff does not apply to {self.path}: {error}. Nothing was written.") from error
        target = self.path.resolve()
        try:
            _replace(target, self.data, new)
        except OSError as error:
            raise RefusedError(f"{self.path} can't be written: {error.strerror}.") from error


def read(reference: str) -> Source:
    """`FILE`, `FILE:A`, `FILE:A-B`, or `-`. Raises RefusedError."""
    if reference == STDIN:
        data = sys.stdin.buffer.read()
        return Source(None, data, _text(data, "Standard input"))
    path, selection = Path(reference), None
    found = None if path.exists() else _LINES.match(reference)
    if found is not None:
        path = Path(found["path"])
        selection = (int(found["first"]), int(found["last"] or found["first"]))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RefusedError(f"{path} can't be read: {error.strerror}.") from error
    return Source(path, data, _text(data, str(path)), selection)


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(f"{name} is no UTF-8 text.") from error


def _replace(target: Path, old: bytes, new: bytes) -> None:
    """By a new file of the same rights beside it. Raises RefusedError where the file has changed, and OSError."""
    status = target.stat()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(status.st_mode & 0o7777)
        with contextlib.suppress(PermissionError):
            os.chown(beside, status.st_uid, status.st_gid)
        if target.read_bytes() != old:
            raise RefusedError(f"{target} has changed in the meantime. Nothing was written.")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
