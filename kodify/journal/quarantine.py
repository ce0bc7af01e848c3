"""Rows that PostgreSQL refuses whatever is done about them: a line of JSON each, beside the spools."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from kodify.db import journal_rows

FILE = "quarantine.jsonl"


def set_aside(folder: Path, row: bytes, reason: str) -> Path:
    """Raises OSError where the disk does not take it."""
    path = folder / FILE
    line = {"at": datetime.now(UTC).isoformat(), "reason": reason, "entry": journal_rows.readable(row)}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        data, size = json.dumps(line).encode() + b"\n", os.fstat(descriptor).st_size
        if os.write(descriptor, data) != len(data):
            os.ftruncate(descriptor, size)
            raise OSError(28, "No space left on device")
    finally:
        os.close(descriptor)
    return path
