"""This host: the disk and the journal's spool."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import disk_usage

from kodify.doctor.finding import Finding, failed, ok, warning
from kodify.settings import Settings

ALARM = 0.8  # of the spool's limit, as in /metrics
LEAST_FREE_BYTES, LEAST_FREE = 5 * 1024**3, 0.05
GIB = 1024**3


def look(settings: Settings) -> Iterator[Finding]:
    folder = Path(settings.data_path)
    yield from _disk(settings, folder)
    if settings.logs:
        yield from _spool(settings, folder / "journal")


def _disk(settings: Settings, folder: Path) -> Iterator[Finding]:
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if os.access(parent, os.F_OK))
    usage = disk_usage(there)
    least = min(LEAST_FREE_BYTES, usage.total * LEAST_FREE)
    if settings.logs:
        least = max(least, settings.logs_spool_bytes)
    text = f"{usage.free / GIB:.1f} GiB of {usage.total / GIB:.0f} are free where DATA_PATH is ({there})"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield failed(
            "disk",
            f"{there} can't be written ({error.strerror}): run this as the server's user, and give that user "
            "DATA_PATH.",
        )
        return
    if usage.free < least:
        yield failed("disk", f"{text}: {least / GIB:.1f} are needed. Make room, or move DATA_PATH.")
    else:
        yield ok("disk", f"{text}.")


def _spool(settings: Settings, folder: Path) -> Iterator[Finding]:
    if not os.access(folder, os.F_OK):  # which is_dir() would raise for, behind a folder that is closed to this user
        yield warning(
            "spool", f"{folder} is not there: the journal was never written from here. Run this as the server."
        )
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield failed("spool", f"{folder} is not this user's: run this as the server's user, or give it the folder.")
        return
    size = sum(_size(path) for path in folder.rglob("*.spool"))
    share = size / settings.logs_spool_bytes
    text = f"{size / 1024**2:.1f} MiB, {share:.0%} of LOGS_SPOOL_BYTES"
    if share >= ALARM:
        yield failed(
            "spool",
            f"{text}: entries are lost at 100 %. See why the journal's database takes none; if the disk has room, "
            "raise LOGS_SPOOL_BYTES.",
        )
    else:
        yield ok("spool", f"{text}.")
    aside = folder / "quarantine.jsonl"
    if aside.is_file() and _size(aside):
        yield warning("spool", f"{aside} has entries that PostgreSQL refused: look at them, then move the file away.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # the server has just dropped it
        return 0
