"""The files below a folder that are documents: what git ignores is left out, links are not followed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kodify.retrieval.checkouts import GitError, Listing, listing, top_of
from kodify.retrieval.ignoring import Ignore
from kodify.retrieval.reading import MOST_BYTES, refusal

NEVER = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".tox", ".mypy_cache", ".ruff_cache"})
MOST_LINES = 1024 * 1024  # bytes of a .gitignore
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_Above = list[tuple[str, Ignore]]  # with the folder each is of, as far as it is known


@dataclass(frozen=True, slots=True)
class Found:
    """`path`: from the folder on, with slashes; empty of the folder itself. `refused`: why it is left out.
    `is_unknown`: what there is of it, or below it, could not be told."""

    path: str
    file: Path
    refused: str | None = None
    is_unknown: bool = False


def walk(root: Path, most_bytes: int = MOST_BYTES) -> list[Found]:
    """In the order of their paths. `root` may be one file."""
    if root.is_file():
        return [one for one in [_found(root, root.name, most_bytes)] if one is not None]
    found: list[Found] = []
    trees = [(root, "")]
    while trees:
        folder, at = trees.pop()
        for one in _tree(folder, at, most_bytes):
            if one.refused is None and one.path.endswith("/"):
                trees.append((one.file, one.path))
            else:
                found.append(one)
    return sorted(found, key=lambda one: one.path)


def _tree(folder: Path, at: str, most_bytes: int) -> Iterator[Found]:
    """The checkouts inside it are folders here, with a slash at the end."""
    top = top_of(folder)
    if at and top != folder:  # a submodule that is not checked out
        top = None
    if top is not None:
        try:
            told = listing(folder)
        except GitError as error:
            reason = f"git does not tell what is ignored here, so .gitignore is read without it: {error}"
            yield Found(at.rstrip("/"), folder, reason)
        else:
            if told is not None:
                yield from _listed(folder, at, told, most_bytes)
                return
            top = None
    yield from _below(folder, at, most_bytes, *(_above(folder, top) if top is not None else ("", [])))


def _listed(folder: Path, at: str, told: Listing, most_bytes: int) -> Iterator[Found]:
    if told.complaint is not None:
        yield Found(at.rstrip("/"), folder, f"git could not look at all of it: {told.complaint}", is_unknown=True)
    behind: dict[str, bool] = {}  # folders: whether there is a link on the way
    for path in told.paths:
        above, _, name = path.rstrip("/").rpartition("/")
        if above not in behind:
            parts = above.split("/") if above else []
            behind[above] = not NEVER.isdisjoint(parts) or any(map(_is_link, _down(folder, parts)))
        if behind[above] or name in NEVER:
            continue
        if (found := _found(folder / above / name, at + path.rstrip("/"), most_bytes)) is not None:
            yield found


def _is_link(file: Path) -> bool:
    """Not where it can't be told: what is below can't be read then either."""
    try:
        return file.is_symlink()
    except OSError:
        return False


def _down(folder: Path, parts: list[str]) -> Iterator[Path]:
    for part in parts:
        folder = folder / part
        yield folder


def _above(folder: Path, top: Path) -> tuple[str, _Above]:
    """What is said above a folder of a checkout, and the folder's own place in it. Nothing where it is ignored itself:
    who names it wants it."""
    place = folder.relative_to(top).as_posix() + "/" if folder != top else ""
    above: _Above = [("", own) for own in [_ignore(top / ".git" / "info" / "exclude")] if own is not None]
    parts = place.split("/")[:-1]
    for count, part in enumerate(parts):
        here = "".join(f"{one}/" for one in parts[:count])
        if (own := _ignore(top / here / ".gitignore")) is not None:
            above.append((here, own))
        if _ignored(above, here + part, True):
            return "", []
    return place, above


def _below(root: Path, at: str, most_bytes: int, place: str, above: _Above) -> Iterator[Found]:
    waiting = [(root, "", above)]
    while waiting:
        folder, inside, specs = waiting.pop()
        if (own := _ignore(folder / ".gitignore")) is not None:
            specs = [*specs, (place + inside, own)]
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries]
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Found((at + inside).rstrip("/"), folder, _unreadable(error), is_unknown=True)
            continue
        for name in names:
            file, path = folder / name, inside + name
            if name in NEVER or (found := _found(file, at + path, most_bytes)) is None:
                continue
            is_folder = found.path.endswith("/")
            if _ignored(specs, place + path, is_folder):
                continue
            if is_folder and found.refused is None and not os.path.lexists(file / ".git"):
                waiting.append((file, path + "/", specs))
            else:
                yield found


def _found(file: Path, path: str, most_bytes: int) -> Found | None:
    """A folder has a slash at the end. None of what is neither, and of what has gone meanwhile."""
    try:
        status = file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Found(path, file, _unreadable(error), is_unknown=True)
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        return None
    try:
        path.encode()
    except UnicodeEncodeError:
        return Found(ascii(path), file, "its name is no UTF-8")
    if has_controls(path):
        return Found(ascii(path), file, "its name has control characters")
    return Found(path + "/", file) if is_folder else Found(path, file, refusal(path, status.st_size, most_bytes))


def has_controls(path: str) -> bool:
    return _CONTROLS.search(path) is not None


def _unreadable(error: OSError) -> str:
    return f"it can't be read: {error.strerror}"


def _ignore(file: Path) -> Ignore | None:
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            return None
        with file.open("rb") as lines:
            return Ignore(lines.read(MOST_LINES).decode("utf-8-sig", "replace"))
    except OSError:
        return None


def _ignored(specs: _Above, path: str, is_folder: bool) -> bool:
    """The deepest file that says anything decides, as git has it."""
    for at, spec in reversed(specs):
        said = spec.says(path.removeprefix(at), is_folder)
        if said is not None:
            return said
    return False
