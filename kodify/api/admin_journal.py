"""`/api/v1/admin/journal` and the figures that come from it: usage, and what became of completions.

Who reads what somebody has asked is written down before they see it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kodify import journal_export
from kodify.api.admin import NOT_KEPT, answer, note, period, read_query, unprocessable
from kodify.errors import NotFoundError
from kodify.journal import JournalAccess, Wanted
from kodify.protocol.admin import AcceptanceQuery, JournalQuery, UsageQuery

Row = dict[str, Any]
NO_ENTRY = "The journal has no such entry."


async def usage(request: Request) -> Response:
    """Requests, errors, tokens and times of each group, and of all."""
    wanted = read_query(request, UsageQuery)
    since, until = period(wanted.since, wanted.until)
    whole, groups = await _access(request).ask(
        lambda journal: (journal.stats(since, until, None), journal.stats(since, until, wanted.by))
    )
    return answer(_figures(since, until, wanted, whole, groups))


async def acceptance(request: Request) -> Response:
    """Completions that editors showed: how many were accepted, in each group and in all."""
    wanted = read_query(request, AcceptanceQuery)
    since, until = period(wanted.since, wanted.until)
    whole, groups = await _access(request).ask(
        lambda journal: (journal.acceptance(since, until, None), journal.acceptance(since, until, wanted.by))
    )
    return answer(_figures(since, until, wanted, whole, groups))


async def index(request: Request) -> Response:
    """Entries without contents, the newest first; `next` is where the following page begins, null at the end."""
    asked = read_query(request, JournalQuery)
    since, until = period(asked.since, asked.until)
    wanted = Wanted(
        since, until, asked.user, asked.route, asked.model, _status(asked.status), asked.errors, asked.id,
        None if asked.after is None else _place(asked.after),
    )  # fmt: skip
    found = await _access(request).ask(lambda journal: journal.page(wanted, asked.limit))
    following = f"{found[-1]['request_dt'].isoformat()}~{found[-1]['id']}" if len(found) == asked.limit else None
    return answer({"data": [_plain(row) for row in found], "next": following})


async def show(request: Request) -> Response:
    """An entry with what was asked and answered, and the configuration of then."""
    access = _access(request)
    try:
        entry_id = UUID(request.path_params["id"])
    except ValueError:
        raise NotFoundError(NO_ENTRY) from None
    row = await access.ask(lambda journal: journal.detail(entry_id))
    if row is None:
        raise NotFoundError(NO_ENTRY)
    whose = row["username"] or row["user"] or "nobody known"
    await note(
        request, "read journal", str(entry_id), f"{row['type']} of {whose}, {row['request_dt']:%Y-%m-%d %H:%M:%S}"
    )
    return Response(orjson.dumps(_whole(row)), 200, NOT_KEPT, "application/json")


def _access(request: Request) -> JournalAccess:
    found: JournalAccess | None = request.app.state.journal_access
    if found is None:
        raise NotFoundError("There is no journal here: LOGS is off.")
    return found


def _figures(
    since: datetime, until: datetime, wanted: UsageQuery | AcceptanceQuery, whole: list[Row], groups: list[Row]
) -> dict[str, Any]:
    """Only of the groups that were asked for; `left_off` says how many there are besides."""
    shown = groups if wanted.by == "day" else groups[: wanted.limit]
    total = {name: value for row in whole for name, value in row.items() if name != "key"}
    return {
        "since": since.isoformat(timespec="seconds"),
        "until": until.isoformat(timespec="seconds"),
        "by": wanted.by,
        "total": total,
        "data": [journal_export.plain(row) for row in shown],
        "left_off": len(groups) - len(shown),
    }


def _status(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    return (int(text), int(text)) if text.isdecimal() else (int(text[0]) * 100, int(text[0]) * 100 + 99)


def _place(text: str) -> tuple[datetime, UUID]:
    moment, _, entry_id = text.partition("~")
    try:
        found = datetime.fromisoformat(moment)
        if found.tzinfo is None:
            raise ValueError
        return found, UUID(entry_id)
    except ValueError:
        raise unprocessable("after: it must be `next` of a page", "after") from None


def _whole(row: Row) -> dict[str, Any]:
    """Contents as they were written: they are JSON already, and may hold numbers that Python can't."""
    told = _plain(row)
    for name in journal_export.CONTENT:
        told[name] = None if row[name] is None else orjson.Fragment(row[name])
    return told


def _plain(row: Row) -> Row:
    """The configuration's id has more digits than a script's number."""
    return {**journal_export.plain(row), "config_id": str(row["config_id"])}
