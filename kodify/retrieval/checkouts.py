"""What git knows of a folder: which files count, of which repository and commit they are.

A checkout may come from anywhere, and its configuration names commands: none of them is run.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from kodify.retrieval.base import NOWHERE, Origin

GIT_TIMEOUT_S = 60
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
_SAFE = [("core.fsmonitor", ""), ("core.hooksPath", os.devnull)]


class GitError(Exception):
    """Git does not answer; the text is its own first line."""


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


@dataclass(frozen=True, slots=True)
class Listing:
    """`paths`: from the folder on; a checkout inside is one path, with or without a slash at its end. `complaint`: what
    git could not look at."""

    paths: frozenset[str]
    complaint: str | None = None


def top_of(folder: Path) -> Path | None:
    """The folder of its checkout, found without git."""
    return next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), None)


def listing(folder: Path) -> Listing | None:
    """What is tracked, and what is neither tracked nor ignored. None where the folder as a whole is ignored.
    Raises GitError."""
    _assure(folder)
    if _run(folder, "check-ignore", "-q", "--", ".").returncode == 0:
        return None
    done = _checked(_run(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard"))
    return Listing(frozenset(_parts(done.stdout)), _first_line(done.stderr) or None)


def checkout_of(root: Path) -> Checkout:
    """The remote's address, without a password in it, the commit, and what is as it has it."""
    folder = root if root.is_dir() else root.parent
    try:
        _assure(folder)
        place = _line(folder, "rev-parse", "--show-prefix")
    except GitError:
        return Checkout()
    try:
        repository = repository_name(_line(folder, "config", "remote.origin.url"))
    except GitError:
        repository = None
    try:
        commit = _line(folder, "rev-parse", "--verify", "HEAD")
    except GitError:
        return Checkout(repository, None, place)
    try:
        return Checkout(repository, commit, place, _unchanged(folder))
    except GitError:  # then of no file it is known
        return Checkout(repository, commit, place)


def _assure(folder: Path) -> None:
    """A checkout's configuration can say that its files are elsewhere. Raises GitError."""
    top = _line(folder, "rev-parse", "--show-toplevel")
    if not folder.resolve().is_relative_to(Path(top).resolve()):
        raise GitError(f"its configuration has the files in {top}")


def _unchanged(folder: Path) -> frozenset[str]:
    filters = _run(folder, "config", "-z", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process|required)$")
    quiet = [(name, "false" if name.endswith(".required") else "") for name in _parts(filters.stdout)]
    asked = (
        "diff", "--name-only", "--relative", "--no-ext-diff", "--no-textconv", "--no-renames",
        "--ignore-submodules=all", "-z", "HEAD", "--", ".",
    )  # fmt: skip
    changed = _checked(_run(folder, *asked, settings=quiet))
    known = _checked(_run(folder, "ls-files", "-z"))
    return frozenset(_parts(known.stdout)) - frozenset(_parts(changed.stdout))


def _parts(answer: bytes) -> list[str]:
    return [os.fsdecode(part) for part in answer.split(b"\0") if part]


def _line(folder: Path, *arguments: str) -> str:
    return os.fsdecode(_checked(_run(folder, *arguments)).stdout).rstrip("\n")


def _checked(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[bytes]:
    if done.returncode != 0:
        raise GitError(_first_line(done.stderr) or f"git ended with {done.returncode}")
    return done


def _first_line(answer: bytes) -> str:
    return answer.decode("utf-8", "replace").strip().partition("\n")[0]


def _run(folder: Path, *arguments: str, settings: Iterable[tuple[str, str]] = ()) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=GIT_TIMEOUT_S, check=False,
            env=_environment([*_SAFE, *settings]),
        )  # fmt: skip
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git takes more than {GIT_TIMEOUT_S} s") from None
    except (OSError, ValueError) as error:
        raise GitError(f"git can't be run: {error}") from None


def _environment(settings: list[tuple[str, str]]) -> dict[str, str]:
    """Settings that are named so come last, and win. No protocol: a partial clone would fetch by a command."""
    found = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    first = int(found.get("GIT_CONFIG_COUNT") or 0)
    for number, (name, value) in enumerate(settings, first):
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    own = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "", "LC_ALL": "C"}
    return {**found, **own, "GIT_CONFIG_COUNT": str(first + len(settings))}


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
