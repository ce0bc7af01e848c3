"""What is asked of the journal: blocking, for the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from kodify.db import journal_rows
from kodify.db.database import CONNECT_TIMEOUT_S, Database
from kodify.errors import ConfigError

Group = Literal["day", "model", "user", "route"]
EXPORTED = (
    "id", "user", "username", "type", "request", "request_dt", "response", "response_dt", "status_code", "config_id",
    "request_id", "model", "prompt_tokens", "completion_tokens", "ttft_ms", "duration_ms", "finish_reason", "cancelled",
)  # fmt: skip
PAGE_ROWS = 1_000
WHOLE_ROWS = 50  # with their contents
MOST_LATE = 20_000

# Contents as they were written: no number is too large for a text.
_WHOLE = sql.SQL(", ").join(
    sql.SQL("{0}::text AS {0}" if name in ("request", "response") else "{0}").format(sql.Identifier(name))
    for name in EXPORTED
)
_GROUPS: dict[Group, sql.SQL] = {
    "day": sql.SQL("(request_dt AT TIME ZONE 'UTC')::date"),
    "model": sql.SQL("model"),
    "user": sql.SQL('coalesce(username, "user")'),
    "route": sql.SQL("type"),
}
_FIGURES = sql.SQL(
    """count(*) AS requests,
    count(*) FILTER (WHERE status_code >= 400 AND status_code <> 499) AS errors,
    count(*) FILTER (WHERE cancelled) AS cancelled,
    count(DISTINCT coalesce(username, "user")) AS users,
    coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
    coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY ttft_ms) AS ttft_p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY ttft_ms) AS ttft_p95_ms,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY ttft_ms) AS ttft_p99_ms,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) AS duration_p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) AS duration_p95_ms,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY duration_ms) AS duration_p99_ms"""
)


class JournalReader:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._connection = connection

    def newest(self, count: int, *, user: str | None = None, errors: bool = False) -> list[DictRow]:
        """Without contents, the oldest of them first."""
        return self._lines(sql.SQL("TRUE"), [], count, user=user, errors=errors, descending=True)[::-1]

    def just_ended(self, seconds: float, *, user: str | None = None, errors: bool = False) -> list[DictRow]:
        """What has ended in the last seconds by the database's clock, in the order of the requests, which may be
        another."""
        where = sql.SQL("response_dt >= now() - make_interval(secs => %s) AND request_dt >= now() - interval '1 day'")
        return self._lines(where, [seconds], MOST_LATE, user=user, errors=errors, descending=False)

    def find(self, name: str) -> list[DictRow]:
        """By the entry's id, or by the request's."""
        try:
            entry_id = UUID(name)
        except ValueError:
            entry_id = None
        found: list[DictRow] = []
        if entry_id is not None and entry_id.version == 7:
            moment = journal_rows.id_moment(entry_id)
            margin = timedelta(milliseconds=2)
            query = sql.SQL("SELECT {} FROM journal WHERE id = %s AND request_dt BETWEEN %s AND %s").format(_WHOLE)
            found = self._connection.execute(query, [entry_id, moment - margin, moment + margin]).fetchall()
        if not found:
            query = sql.SQL("SELECT {} FROM journal WHERE request_id = %s ORDER BY request_dt LIMIT 100").format(_WHOLE)
            found = self._connection.execute(query, [name]).fetchall()
        return found

    def config(self, config_id: int) -> DictRow | None:
        return self._connection.execute("SELECT * FROM journal_configs WHERE id = %s", [config_id]).fetchone()

    def between(self, since: datetime, until: datetime) -> Iterator[DictRow]:
        """Whole entries, in order, without holding them in memory."""
        query = sql.SQL(
            "SELECT {} FROM journal WHERE request_dt >= %s AND request_dt < %s ORDER BY request_dt, id"
        ).format(_WHOLE)
        with self._connection.transaction(), self._connection.cursor(name="export") as cursor:
            cursor.itersize = WHOLE_ROWS
            cursor.execute(query, [since, until])
            yield from cursor

    def stats(self, since: datetime, until: datetime, group: Group | None) -> list[DictRow]:
        """Figures of each group, or of all; the busiest first, days in order."""
        key = _GROUPS[group] if group is not None else sql.SQL("NULL")
        order = sql.SQL("1" if group == "day" else "requests DESC, 1")
        query = sql.SQL(
            "SELECT {} AS key, {} FROM journal WHERE request_dt >= %s AND request_dt < %s GROUP BY 1 ORDER BY {}"
        ).format(key, _FIGURES, order)
        return self._connection.execute(query, [since, until]).fetchall()

    def _lines(
        self, where: sql.SQL, values: list[Any], count: int, *, user: str | None, errors: bool, descending: bool
    ) -> list[DictRow]:
        conditions = [where]
        if user is not None:
            conditions.append(sql.SQL('(username = %s OR "user" = %s)'))
            values += [user, user]
        if errors:
            conditions.append(sql.SQL("status_code >= 400"))
        direction = sql.SQL("DESC" if descending else "ASC")
        columns = [name for name in EXPORTED if name not in ("request", "response")]
        query = sql.SQL("SELECT {0} FROM journal WHERE {1} ORDER BY request_dt {2}, id {2} LIMIT %s").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(" AND ").join(conditions), direction
        )
        return self._connection.execute(query, [*values, count]).fetchall()


@contextlib.contextmanager
def reading(database: Database) -> Iterator[JournalReader]:
    """Raises ConfigError where there is no journal to read."""
    database.find(make=False)
    try:
        with psycopg.connect(
            database.conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, row_factory=dict_row,
            options="-c timezone=UTC",
        ) as connection:  # fmt: skip
            yield JournalReader(connection)
    except psycopg.errors.UndefinedTable:
        raise ConfigError("The database has no journal: run `kodify migrate`, or set RUN_MIGRATIONS=1.") from None
    except psycopg.Error as error:
        raise ConfigError(f"The journal can't be read: {str(error).splitlines()[0]}.") from None


def now() -> datetime:
    return datetime.now(UTC)
