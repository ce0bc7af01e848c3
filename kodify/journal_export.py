"""The journal's entries as files for other programs. Nothing but one page of them is held in memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import IO, Any
from uuid import UUID

from kodify.db.journal_queries import EXPORTED, PAGE_ROWS

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


def write_jsonl(rows: Iterable[Row], file: IO[bytes]) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(plain(row), ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def write_csv(rows: Iterable[Row], file: IO[bytes]) -> int:
    """RFC 4180; `request` and `response` are JSON texts."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(EXPORTED)
    count = 0
    for row in rows:
        writer.writerow(_flat(row).values())
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
            flat = [{**_flat(row), "request_dt": row["request_dt"], "response_dt": row["response_dt"]} for row in page]
            writer.write_table(pyarrow.Table.from_pylist(flat, schema=schema))
            count += len(page)
    return count


FORMATS: dict[str, Callable[[Iterable[Row], IO[bytes]], int]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}


def _flat(row: Row) -> Row:
    flat = plain(row)
    for name in CONTENT:
        if flat[name] is not None:
            flat[name] = json.dumps(flat[name], ensure_ascii=False)
    return flat


def _pages(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while page := list(islice(iterator, PAGE_ROWS)):
        yield page
