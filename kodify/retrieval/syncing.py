"""A folder into a collection: what is new or changed is put, what is gone is removed.

Nothing has to be remembered of an interrupted run: the collection tells which documents it has whole, by digest, and
which run put them: another folder's, and what was put by itself, stays.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from kodify.errors import KodifyError
from kodify.retrieval.base import Held, Origin
from kodify.retrieval.checkouts import Checkout
from kodify.retrieval.digests import digest
from kodify.retrieval.library import Put
from kodify.retrieval.shelf import folders
from kodify.retrieval.walking import Found, walk

AT_ONCE = 4  # documents


class Target(Protocol):
    """A collection, here or in a running Kodify."""

    async def held(self) -> dict[str, Held]: ...

    async def put(self, path: str, data: bytes, origin: Origin, source: str) -> Put: ...

    async def remove(self, path: str) -> None: ...

    async def note(self, checkout: Checkout) -> None: ...


@dataclass(slots=True)
class Report:
    unchanged: int = 0
    indexed: int = 0
    removed: int = 0
    others: int = 0  # that other runs or people have put, and that are not in this folder
    pieces: int = 0
    skipped: dict[str, str] = field(default_factory=dict)  # path: why
    failed: dict[str, str] = field(default_factory=dict)


async def sync(
    root: Path,
    checkout: Checkout,
    target: Target,
    *,
    under: str = "",
    source: str | None = None,
    told: Callable[[int, int, str], None] = lambda done, all, path: None,
) -> Report:
    """`under`: the folder of the collection that this is the content of. `source`: the run's name; by itself it follows
    from the folder. `told` hears how many documents of how many are done, and which one is next. A document that fails
    is told of in the report, and tried again by the next run; the others go on. Raises a KodifyError where none can."""
    report = Report()
    under = under.strip("/")
    above = under + "/" if under else ""
    source = source_of(root, checkout, under) if source is None else source
    found = [replace(one, path=(above + one.path).rstrip("/")) for one in await asyncio.to_thread(walk, root)]
    held = {path: one for path, one in (await target.held()).items() if path.startswith(above)}
    waiting = iter(found)
    done = 0

    async def work() -> None:
        nonlocal done
        for one in waiting:
            told(done, len(found), one.path)
            origin = checkout.origin(one.path.removeprefix(above))
            await _one(one, held.get(one.path), origin, source, target, report)
            done += 1

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    if await asyncio.to_thread(root.is_dir):
        kept = {one.path for one in found if one.refused is None}
        unknown = {one.path for one in found if one.is_unknown}
        for path in sorted(held.keys() - kept):
            if "" in unknown or not unknown.isdisjoint(folders(path)):
                continue
            if held[path].source == source:
                await target.remove(path)
                report.removed += 1
            else:
                report.others += 1
        if checkout != Checkout() and not under:
            await target.note(checkout)
    told(len(found), len(found), "")
    return report


def source_of(root: Path, checkout: Checkout, under: str) -> str:
    """A run's name: the repository and the folder in it, wherever it is checked out, or the folder's path here."""
    folder = root if root.is_dir() else root.parent
    place = os.fsencode(folder).decode("utf-8", "replace")
    if checkout.repository is not None:
        place = f"{checkout.repository}/{checkout.place}".rstrip("/")
    return f"{place} as {under}" if under else place


async def _one(found: Found, held: Held | None, origin: Origin, source: str, target: Target, report: Report) -> None:
    if found.refused is not None:
        report.skipped[found.path or "."] = found.refused
        return
    try:
        data = await asyncio.to_thread(found.file.read_bytes)
    except OSError as error:
        report.failed[found.path] = error.strerror or type(error).__name__
        return
    if held is not None and held.digest == digest(data):
        if held.skipped is not None:
            report.skipped[found.path] = held.skipped
        report.unchanged += 1
        return
    try:
        put = await target.put(found.path, data, origin, source)
    except KodifyError as error:
        if error.status in (401, 403, 404, 409):
            raise
        report.failed[found.path] = error.message
        return
    if put.skipped is not None:
        report.skipped[found.path] = put.skipped
    report.indexed += 1
    report.pieces += put.pieces
