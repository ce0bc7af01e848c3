"""The files below a folder that are documents: .gitignore honoured, links not followed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

from kodify.retrieval.base import NOWHERE, Origin
from kodify.retrieval.reading import MOST_BYTES, refusal

NEVER = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".tox", ".mypy_cache", ".ruff_cache"})
GIT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Found:
    """`path`: from the folder on, with slashes. `refused`: why it is left out."""

    path: str
    file: Path
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Checkout:
    """What git knows of a folder. `place`: of the folder in its repository; `files`: those in it, by their paths from
    the folder on, that are as the commit has them."""

    repository: str | None = None
    commit: str | None = None
    place: str = ""
    files: frozenset[str] = field(default=frozenset(), repr=False)

    def origin(self, path: str) -> Origin:
        return Origin(self.commit, self.repository, self.place + path) if path in self.files else NOWHERE


def walk(root: Path, most_bytes: int = MOST_BYTES) -> Iterator[Found]:
    """In the order of their paths. `root` may be one file."""
    if root.is_file():
        yield _found(root, root.name, most_bytes)
        return
    yield from _below(root, "", [], most_bytes)


def _below(folder: Path, at: str, above: list[tuple[str, GitIgnoreSpec]], most_bytes: int) -> Iterator[Found]:
    specs = above
    if (own := _spec(folder / ".gitignore")) is not None:
        specs = [*above, (at, own)]
    if not at and (exclude := _spec(folder / ".git" / "info" / "exclude")) is not None:
        specs = [("", exclude), *specs]
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Found(at or ".", folder, f"it can't be read: {error.strerror}")
        return
    for entry in entries:
        path = f"{at}{entry.name}"
        if entry.is_symlink():
            continue
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in NEVER and not _ignored(specs, path + "/"):
                yield from _below(Path(entry.path), path + "/", specs, most_bytes)
        elif entry.is_file(follow_symlinks=False) and not _ignored(specs, path):
            yield _found(Path(entry.path), path, most_bytes)


def _found(file: Path, path: str, most_bytes: int) -> Found:
    try:
        path.encode()
    except UnicodeEncodeError:
        return Found(ascii(path), file, "its name is no UTF-8")
    return Found(path, file, refusal(path, file.stat().st_size, most_bytes))


def _spec(file: Path) -> GitIgnoreSpec | None:
    try:
        return GitIgnoreSpec.from_lines(file.read_text(encoding="utf-8", errors="replace").splitlines())
    except OSError:
        return None


def _ignored(specs: list[tuple[str, GitIgnoreSpec]], path: str) -> bool:
    """The deepest file that says anything decides, as git has it."""
    for at, spec in reversed(specs):
        said = spec.check_file(path.removeprefix(at)).include
        if said is not None:
            return said
    return False


def checkout_of(root: Path) -> Checkout:
    """The remote's address, without a password in it, the commit, and what is as it has it."""
    folder = root if root.is_dir() else root.parent
    if _git(folder, "rev-parse", "--is-inside-work-tree") is None:
        return Checkout()
    commit = _git(folder, "rev-parse", "HEAD")
    files: set[str] = set()
    if commit is not None and (known := _git(folder, "ls-files", "-z")) is not None:
        changed = _git(folder, "diff", "--name-only", "--relative", "--no-ext-diff", "-z", "HEAD", "--", ".")
        files = {*known.split("\0")} - {*(changed or "").split("\0"), ""}
    place = _git(folder, "rev-parse", "--show-prefix") or ""
    return Checkout(repository_name(_git(folder, "config", "remote.origin.url")), commit, place, frozenset(files))


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def repository_name(address: str | None) -> str | None:
    """`git@host:team/project.git`, `https://user:password@host/team/project` and their like, as `host/team/project`."""
    if not address:
        return None
    name = address.strip()
    if "://" in name:
        name = name.split("://", 1)[1]
    elif "@" in name.split("/", 1)[0] and ":" in name:
        name = name.replace(":", "/", 1)
    host, _, rest = name.partition("/")
    host = host.rpartition("@")[2].partition(":")[0].lower()
    return f"{host}/{rest.strip('/').removesuffix('.git')}".rstrip("/") or None
