"""The actions that there are: files of one folder, read again when they have changed."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

from kodify.actions.action import Action, parse
from kodify.errors import ConfigError, NotFoundError

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "prompts"
LOOK_EVERY_S = 1.0
MOST_BYTES = 256 * 1024
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")

Mark = tuple[int, int, int]  # a file's time, size and inode: what tells that it has changed


@dataclass(slots=True)
class _Read:
    mark: Mark
    action: Action | None  # the last good one


class Actions:
    """Looks at the folder at most once in `look_every_s`. A file that is broken leaves its last good action as it was,
    and the log says so once; a new file is a new action, and one without its file is gone."""

    def __init__(self, path: str | Path | None = None, look_every_s: float = LOOK_EVERY_S) -> None:
        self._folder = Path(path).expanduser() if path else SHIPPED
        self._look_every_s = look_every_s
        self._looked_at: float | None = None
        self._read: dict[str, _Read] = {}
        self._unreadable = False

    def all(self) -> list[Action]:
        self._look()
        found = [read.action for read in self._read.values() if read.action is not None]
        return sorted(found, key=lambda action: (action.head.order, action.name))

    def names(self) -> list[str]:
        return [action.name for action in self.all()]

    def find(self, name: str) -> Action:
        """Raises NotFoundError."""
        self._look()
        read = self._read.get(name)
        if read is None or read.action is None:
            raise NotFoundError(f'There is no action "{name[:100]}" here.', param="name")
        return read.action

    def _look(self) -> None:
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < self._look_every_s:
            return
        self._looked_at = now
        try:
            marks = list_files(self._folder)
        except OSError as error:
            if not self._unreadable:
                log.error("the actions' folder %s can't be read, its actions go on: %s", self._folder, error)
            self._unreadable = True
            return
        self._unreadable = False
        for name in self._read.keys() - marks.keys():
            del self._read[name]
        for name, mark in marks.items():
            known = self._read.get(name)
            if known is not None and known.mark == mark:
                continue
            action = known.action if known is not None else None
            try:
                action = read_file(self._folder, name)
            except ConfigError as error:
                log.error("%s %s", error.message, "The last good one goes on." if action else "It is left out.")
            self._read[name] = _Read(mark, action)


def list_files(folder: Path) -> dict[str, Mark]:
    """Raises OSError."""
    found = {}
    for path in folder.glob("*.md"):
        if _NAME.fullmatch(path.stem) and path.is_file():
            status = path.stat()
            found[path.stem] = (status.st_mtime_ns, status.st_size, status.st_ino)
    if not found:
        next(folder.iterdir(), None)  # raises where there is no such folder
    return found


def read_file(folder: Path, name: str) -> Action:
    """Raises ConfigError."""
    path = folder / f"{name}.md"
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise ConfigError(f"{path}: the action {name} has more than {MOST_BYTES // 1024} KiB.")
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text.") from error
    try:
        return parse(name, text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from error


def problem(path: str | None) -> str | None:
    """Why Kodify should not start with ACTIONS_PATH so, in one sentence."""
    if path is None:
        return None
    folder = Path(path).expanduser()
    try:
        names = list_files(folder)
    except OSError:
        return f"ACTIONS_PATH names {path}, which is not a folder here: give the folder with the actions' files."
    if not names:
        return f"ACTIONS_PATH names {path}, which has no action, such as fix.md: copy the shipped ones there."
    for name in sorted(names):
        try:
            read_file(folder, name)
        except ConfigError as error:
            return f"ACTIONS_PATH: {error.message}"
    return None
