"""A folder into a collection: what is new or changed is put, what is gone is removed.

Nothing has to be remembered of an interrupted run: the collection tells which documents it has whole, by digest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from kodify.errors import KodifyError
from kodify.retrieval.base import Held, Origin
from kodify.retrieval.library import Put, digest
from kodify.retrieval.walking import Checkout, Found, walk

AT_ONCE = 4  # documents


class Target(Protocol):
    """A collection, here or in a running Kodify."""

    async def held(self) -> dict[str, Held]: ...

    async def put(self, path: str, data: bytes, origin: Origin) -> Put: ...

    async def remove(self, path: str) -> None: ...

    async def note(self, checkout: Checkout) -> None: ...


@dataclass(slots=True)
class Report:
    unchanged: int = 0
    indexed: int = 0
    removed: int = 0
    pieces: int = 0
    skipped: dict[str, str] = field(default_factory=dict)  # path: why
    failed: dict[str, str] = field(default_factory=dict)


async def sync(
    root: Path,
    checkout: Checkout,
    target: Target,
    *,
    under: str = "",
    told: Callable[[int, int, str], None] = lambda done, all, path: None,
) -> Report:
    """`under`: the folder of the collection that this is the content of. `told` hears how many documents of how many
    are done, and which one is next. A document that fails is told of in the report, and tried again by the next run;
    the others go on. Raises a KodifyError where none can."""
    report = Report()
    above = under.strip("/") + "/" if under.strip("/") else ""
    found = [replace(one, path=above + one.path) for one in await asyncio.to_thread(lambda: list(walk(root)))]
    held = {path: one for path, one in (await target.held()).items() if path.startswith(above)}
    waiting = iter(found)
    done = 0

    async def work() -> None:
        nonlocal done
        for one in waiting:
            told(done, len(found), one.path)
            origin = checkout.origin(one.path.removeprefix(above))
            await _one(one, held.get(one.path), origin, target, report)
            done += 1

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    if await asyncio.to_thread(root.is_dir):
        kept = {one.path for one in found if one.refused is None}
        for path in sorted(held.keys() - kept):
            await target.remove(path)
            report.removed += 1
    await target.note(checkout)
    told(len(found), len(found), "")
    return report


async def _one(found: Found, held: Held | None, origin: Origin, target: Target, report: Report) -> None:
    if found.refused is not None:
        report.skipped[found.path] = found.refused
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
        put = await target.put(found.path, data, origin)
    except KodifyError as error:
        if error.status in (401, 403, 404, 409):
            raise
        report.failed[found.path] = error.message
        return
    if put.skipped is not None:
        report.skipped[found.path] = put.skipped
    report.indexed += 1
    report.pieces += put.pieces
