"""What an administrator asks of the journal: pages of entries that fit, and one of them with all that was said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql
from psycopg.rows import DictRow

from kodify.db import journal_rows
from kodify.db.acceptance import AcceptanceReader
from kodify.db.journal_queries import EXPORTED

WHOLE_ID_CHARACTERS = 32  # of a request's id that is searched by the index; shorter texts are looked for in it
_MARGIN = timedelta(milliseconds=2)
_LINE = sql.SQL(", ").join(sql.Identifier(name) for name in EXPORTED if name not in ("request", "response"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries. `user`: an e-mail or a client's address; `route`: with its method or without; `status`: the least
    and the greatest; `name`: an id, or a part of a request's; `after`: the time and id of the last that is known."""

    since: datetime
    until: datetime
    user: str | None = None
    route: str | None = None
    model: str | None = None
    status: tuple[int, int] | None = None
    errors: bool = False
    name: str | None = None
    after: tuple[datetime, UUID] | None = None


class JournalSearch(AcceptanceReader):
    def page(self, wanted: Wanted, size: int) -> list[DictRow]:
        """Without contents, the newest first."""
        conditions, values = _conditions(wanted)
        query = sql.SQL("SELECT {} FROM journal WHERE {} ORDER BY request_dt DESC, id DESC LIMIT %s").format(
            _LINE, sql.SQL(" AND ").join(conditions)
        )
        return self._connection.execute(query, [*values, size]).fetchall()

    def detail(self, entry_id: UUID) -> DictRow | None:
        """With contents, and the configuration of then as `config`."""
        row = next((row for row in self.find(str(entry_id)) if row["id"] == entry_id), None)
        if row is not None:
            config = self.config(row["config_id"])
            row["config"] = config["settings"] if config is not None else None
        return row


def _conditions(wanted: Wanted) -> tuple[list[sql.SQL], list[Any]]:
    conditions = [sql.SQL("request_dt >= %s AND request_dt < %s")]
    values: list[Any] = [wanted.since, wanted.until]

    def add(condition: LiteralString, *of: Any) -> None:
        conditions.append(sql.SQL(condition))
        values.extend(of)

    if wanted.user is not None:
        add('(username = %s OR "user" = %s)', wanted.user, wanted.user)
    if wanted.route is not None:
        add("(type = %s OR split_part(type, ' ', 2) = %s)", wanted.route, wanted.route)
    if wanted.model is not None:
        add("model = %s", wanted.model)
    if wanted.status is not None:
        add("status_code BETWEEN %s AND %s", *wanted.status)
    if wanted.errors:
        add("status_code >= 400")
    if wanted.name is not None:
        add(*_named(wanted.name))
    if wanted.after is not None:
        add("(request_dt, id) < (%s, %s)", *wanted.after)
    return conditions, values


def _named(name: str) -> tuple[LiteralString, *tuple[Any, ...]]:
    if len(name) < WHOLE_ID_CHARACTERS:
        return "strpos(request_id, %s) > 0", name
    try:
        entry_id = UUID(name)
    except ValueError:
        entry_id = None
    if entry_id is None or entry_id.version != 7:
        return "request_id = %s", name
    moment = journal_rows.id_moment(entry_id)
    whole = "(request_id = %s OR (id = %s AND request_dt BETWEEN %s AND %s))"
    return whole, name, entry_id, moment - _MARGIN, moment + _MARGIN
