"""The journal's entries as files for other programs. Nothing but one page of them is held in memory."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import IO, Any
from uuid import UUID

from kodify.db.journal_queries import EXPORTED, WHOLE_ROWS

Row = dict[str, Any]
CONTENT = ("request", "response")


def plain(row: Row) -> Row:
    """As JSON can say it."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def parsed(row: Row) -> Row:
    """With contents as values; what Python can't read stays a text."""
    shown = plain(row)
    for name in CONTENT:
        with contextlib.suppress(ValueError, RecursionError):
            shown[name] = None if shown[name] is None else json.loads(shown[name], parse_float=_finite)
    return shown


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def write_jsonl(rows: Iterable[Row], file: IO[bytes]) -> int:
    """Contents are put in as they were written; a line break in JSON stands between values only."""
    count = 0
    for row in rows:
        contents = {name: (row[name] or "null").replace("\r", " ").replace("\n", " ") for name in CONTENT}
        fields = [
            f"{json.dumps(name)}: {contents[name] if name in contents else json.dumps(value, ensure_ascii=False)}"
            for name, value in plain(row).items()
        ]
        file.write(f"{{{', '.join(fields)}}}\n".encode())
        count += 1
    return count


def write_csv(rows: Iterable[Row], file: IO[bytes]) -> int:
    """RFC 4180; `request` and `response` are JSON texts."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(EXPORTED)
    count = 0
    for row in rows:
        writer.writerow(plain(row).values())
        count += 1
    text.detach()
    return count


def write_parquet(rows: Iterable[Row], file: IO[bytes]) -> int:
    """`request` and `response` are JSON texts."""
    import pyarrow
    from pyarrow import parquet

    moment, text = pyarrow.timestamp("us", tz="UTC"), pyarrow.string()
    types = {
        "request_dt": moment, "response_dt": moment, "status_code": pyarrow.int32(), "config_id": pyarrow.int64(),
        "prompt_tokens": pyarrow.int32(), "completion_tokens": pyarrow.int32(), "ttft_ms": pyarrow.float64(),
        "duration_ms": pyarrow.float64(), "cancelled": pyarrow.bool_(),
    }  # fmt: skip
    schema = pyarrow.schema([(name, types.get(name, text)) for name in EXPORTED])
    count = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for page in _pages(rows):
            flat = [{**plain(row), "request_dt": row["request_dt"], "response_dt": row["response_dt"]} for row in page]
            writer.write_table(pyarrow.Table.from_pylist(flat, schema=schema))
            count += len(page)
    return count


FORMATS: dict[str, Callable[[Iterable[Row], IO[bytes]], int]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}


def _pages(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while page := list(islice(iterator, WHOLE_ROWS)):
        yield page
