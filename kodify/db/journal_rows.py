"""A row of the journal in PostgreSQL's binary COPY form, which the spool keeps and the writer hands on as it is.

Columns whose size never changes come first, so that times can be read without taking a row apart.
"""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

COLUMNS = (
    "id", "request_dt", "response_dt", "status_code", "config_id", "cancelled", "duration_ms",
    "prompt_tokens", "completion_tokens", "ttft_ms",
    "user", "username", "type", "request_id", "model", "finish_reason",
    "request", "response",
)  # fmt: skip
TEXT, CONTENT = slice(10, 16), slice(16, 18)
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
COPY_END = b"\xff\xff"

NUL = b"\\u0000"
_ESCAPE = re.compile(rb"\\(?:u0000|.)", re.DOTALL)
_FIXED = struct.Struct(">h i16s iq iq ii iq i? id".replace(" ", ""))
_LENGTH = struct.Struct(">i")
_INTEGER = struct.Struct(">ii")
_DOUBLE = struct.Struct(">id")
_TIMES = struct.Struct(">qiq")
_TIMES_AT = 2 + 4 + 16 + 4
_CONFIG_AT = _TIMES_AT + 8 + 4 + 8 + 4 + 4 + 4
_NULL = b"\xff\xff\xff\xff"
_EPOCH_US = 946_684_800_000_000  # PostgreSQL counts from 2000
_LOW_62 = (1 << 62) - 1
_DAY_US = 86_400_000_000


def make_id(at_us: int) -> bytes:
    """A UUID of version 7: the milliseconds, then 74 random bits."""
    chance = random.getrandbits(74)
    number = (at_us // 1000 << 80) | (7 << 76) | (chance >> 62 << 64) | (2 << 62) | (chance & _LOW_62)
    return number.to_bytes(16, "big")


def id_moment(entry_id: UUID) -> datetime:
    """When the request of this id came, to the millisecond."""
    return datetime.fromtimestamp((entry_id.int >> 80) / 1000, UTC)


def encode(
    entry_id: bytes,
    config_id: int,
    request_us: int,
    response_us: int,
    status_code: int,
    cancelled: bool,
    duration_ms: float,
    prompt_tokens: int | None,
    completion_tokens: int | None,
    ttft_ms: float | None,
    texts: Sequence[str | None],
    contents: Sequence[bytes | None],
) -> bytes:
    """Times are microseconds since 1970; `texts` are user … finish_reason, `contents` the JSON of request, response."""
    fixed = _FIXED.pack(
        len(COLUMNS), 16, entry_id, 8, request_us - _EPOCH_US, 8, response_us - _EPOCH_US,
        4, status_code, 8, config_id, 1, cancelled, 8, duration_ms,
    )  # fmt: skip
    parts = [
        fixed,
        _NULL if prompt_tokens is None else _INTEGER.pack(4, prompt_tokens),
        _NULL if completion_tokens is None else _INTEGER.pack(4, completion_tokens),
        _NULL if ttft_ms is None else _DOUBLE.pack(8, ttft_ms),
    ]
    pack, add = _LENGTH.pack, parts.append
    for text in texts:
        if text is None:
            add(_NULL)
        else:
            data = text.encode("utf-8", "replace")
            add(pack(len(data)))
            add(data)
    for content in contents:
        if content is None:
            add(_NULL)
        else:
            add(pack(len(content)))
            add(content)
    return b"".join(parts)


def times_us(row: bytes) -> tuple[int, int]:
    """When the request came and when its answer ended, microseconds since 1970."""
    request, _, response = _TIMES.unpack_from(row, _TIMES_AT)
    return request + _EPOCH_US, response + _EPOCH_US


def config_id(row: bytes) -> int:
    return int.from_bytes(row[_CONFIG_AT : _CONFIG_AT + 8], "big", signed=True)


def months(rows: Sequence[bytes]) -> set[tuple[int, int]]:
    """Year and month of each request, in UTC."""
    days = {times_us(row)[0] // _DAY_US for row in rows}
    return {(moment.year, moment.month) for day in days for moment in [datetime.fromtimestamp(day * 86_400, UTC)]}


def split(row: bytes) -> list[bytes | None]:
    """The columns' binary values."""
    values: list[bytes | None] = []
    position = 2
    for _ in range(int.from_bytes(row[:2], "big")):
        (length,) = _LENGTH.unpack_from(row, position)
        position += 4
        values.append(None if length < 0 else row[position : position + length])
        position += max(0, length)
    return values


def join(values: Sequence[bytes | None]) -> bytes:
    parts = [len(values).to_bytes(2, "big")]
    for value in values:
        parts += (_NULL,) if value is None else (_LENGTH.pack(len(value)), value)
    return b"".join(parts)


def without_nul(row: bytes) -> bytes:
    """The row as PostgreSQL can hold it: no NUL in a text, no escaped one in JSON."""
    values = split(row)
    values[TEXT] = [value and value.replace(b"\0", "\ufffd".encode()) for value in values[TEXT]]
    values[CONTENT] = [value and json_without_nul(value) for value in values[CONTENT]]
    return join(values)


def as_text(row: bytes) -> bytes:
    """The row with its contents as JSON strings: JSON that PostgreSQL can't hold (nested too deep) is kept as text."""
    values = split(without_nul(row))
    values[CONTENT] = [value and json_string(value) for value in values[CONTENT]]
    return join(values)


def json_string(data: bytes) -> bytes:
    """Any bytes as a JSON string."""
    text = data.decode("utf-8", "replace").replace("\0", "\ufffd")
    return json.dumps(text, ensure_ascii=False).encode()


def readable(row: bytes) -> dict[str, object]:
    """For the quarantine: what can be read is text, the rest hexadecimal."""
    return {name: _readable(name, value) for name, value in zip(COLUMNS, split(row), strict=False)}


def _readable(name: str, value: bytes | None) -> object:
    if value is None:
        return None
    if name == "id":
        return str(UUID(bytes=value))
    if name.endswith("_dt"):
        moment = datetime.fromtimestamp((int.from_bytes(value, "big", signed=True) + _EPOCH_US) / 1e6, UTC)
        return moment.isoformat()
    if name in ("duration_ms", "ttft_ms"):
        return struct.unpack(">d", value)[0]
    if name in ("status_code", "config_id", "prompt_tokens", "completion_tokens"):
        return int.from_bytes(value, "big", signed=True)
    if name == "cancelled":
        return value != b"\0"
    return value.decode("utf-8", "replace")


def json_without_nul(data: bytes) -> bytes:
    """Escaped NULs replaced, which no PostgreSQL text can hold; an escaped backslash before `u0000` is plain text."""
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found[0] == NUL else found[0], data) if NUL in data else data
