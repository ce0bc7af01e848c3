"""What `kodify journal` prints for people: lines of entries, tables of figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kodify import terminal

Row = dict[str, Any]
_VIEWS_HEAD = ("SHOWN", "ACCEPTED", "DISMISSED", "RATE", "TAKEN AFTER p50", "CHARACTERS", "LINES")


def lines(rows: list[Row], *, head: bool) -> Iterator[str]:
    """A line for each entry, without its contents."""
    if head:
        yield _line("WHEN (UTC)", "WHO", "REQUEST", "MODEL", "CODE", "TOKENS", "TTFT", "TOOK", "ID")
    for row in rows:
        yield _line(
            f"{row['request_dt']:%Y-%m-%d %H:%M:%S}",
            row["username"] or row["user"] or "–",
            row["type"],
            row["model"] or "–",
            str(row["status_code"]),
            f"{_number(row['prompt_tokens'])} → {_number(row['completion_tokens'])}",
            _milliseconds(row["ttft_ms"]),
            _milliseconds(row["duration_ms"]),
            str(row["id"]),
        )


def stats(group: str, rows: list[Row]) -> str:
    """Requests, tokens and times, of each of the group's keys."""
    head = (_title(group), "REQUESTS", "ERRORS", "CANCELLED", "USERS",
            "TOKENS IN", "TOKENS OUT", "TTFT p50/p95/p99", "TOOK p50/p95/p99")  # fmt: skip
    cells = [
        (
            _key(group, row),
            *(f"{row[name]:,}" for name in ("requests", "errors", "cancelled", "users")),
            *(f"{row[name]:,}" for name in ("prompt_tokens", "completion_tokens")),
            *(
                " / ".join(_milliseconds(row[f"{name}_{share}_ms"]) for share in ("p50", "p95", "p99"))
                for name in ("ttft", "duration")
            ),
        )
        for row in rows
    ] or [("no entries", *[""] * 8)]
    return "\n".join(terminal.table([head, *cells], right=range(1, 9))) + "\n"


def acceptance(group: str, rows: list[Row]) -> str:
    """What became of completions; characters and lines are those of accepted ones."""
    cells = [
        (
            _key(group, row),
            *(f"{row[name]:,}" for name in ("shown", "accepted", "dismissed")),
            "–" if row["acceptance_rate"] is None else f"{row['acceptance_rate']:.1%}",
            _milliseconds(row["accepted_after_p50_ms"]),
            *(f"{row[name]:,}" for name in ("accepted_characters", "accepted_lines")),
        )
        for row in rows
    ] or [("no events", *[""] * len(_VIEWS_HEAD))]
    rendered = terminal.table([(_title(group), *_VIEWS_HEAD), *cells], right=range(1, len(_VIEWS_HEAD) + 1))
    return "\n".join(rendered) + "\n"


def _title(group: str) -> str:
    return f"BY {group.upper()}" if group != "all" else "ALL"


def _key(group: str, row: Row) -> str:
    if group == "all":
        return ""
    return str(row["key"] if row["key"] is not None else "–")


def _line(when: str, who: str, what: str, model: str, code: str, tokens: str, ttft: str, took: str, name: str) -> str:
    cells = (f"{who:<24}", f"{what:<25}", f"{model:<16}", f"{code:>4}", f"{tokens:>13}", f"{ttft:>8}", f"{took:>8}")
    return f"{when:<19}  {'  '.join(cells)}  {name}"


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f} ms" if value < 9_999.5 else f"{value / 1e3:,.0f} s"
