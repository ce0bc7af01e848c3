"""What became of completions: a row for each view of one, merged from events that come in any order and twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from kodify.db.database import Database
from kodify.db.journal_connection import OwnConnection, refuse
from kodify.db.journal_queries import JournalReader

Kind = Literal["view", "select", "dismiss"]
Group = Literal["day", "language", "model", "user"]
PRUNED_ROWS = 2_000

# Moments are the earliest ones and the elapsed time is the longest, so that neither order nor repetition changes a row.
# Rows are locked in their order: two replicas that write the same ones wait for each other instead of failing.
_WRITE = """
INSERT INTO completion_views (completion_id, choice_index, view_id, username, language, model, shown_at, accepted_at,
    dismissed_at, elapsed_ms, select_kind, characters, lines, seen_at)
SELECT completion_id, choice_index, view_id, max(username), max(language), max(model),
    min(at) FILTER (WHERE kind = 'view'), min(at) FILTER (WHERE kind = 'select'),
    min(at) FILTER (WHERE kind = 'dismiss'), max(elapsed_ms) FILTER (WHERE kind <> 'view'),
    min(select_kind), max(characters), max(lines), min(at)
FROM unnest(%s::text[], %s::integer[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[],
    %s::integer[], %s::text[], %s::integer[], %s::integer[])
    AS event (completion_id, choice_index, view_id, kind, at, username, language, model, elapsed_ms, select_kind,
    characters, lines)
GROUP BY completion_id, choice_index, view_id
ORDER BY completion_id, choice_index, view_id
ON CONFLICT (completion_id, choice_index, view_id) DO UPDATE SET
    username = coalesce(completion_views.username, excluded.username),
    language = coalesce(completion_views.language, excluded.language),
    model = coalesce(completion_views.model, excluded.model),
    shown_at = least(completion_views.shown_at, excluded.shown_at),
    accepted_at = least(completion_views.accepted_at, excluded.accepted_at),
    dismissed_at = least(completion_views.dismissed_at, excluded.dismissed_at),
    elapsed_ms = greatest(completion_views.elapsed_ms, excluded.elapsed_ms),
    select_kind = least(completion_views.select_kind, excluded.select_kind),
    characters = coalesce(completion_views.characters, excluded.characters),
    lines = coalesce(completion_views.lines, excluded.lines),
    seen_at = least(completion_views.seen_at, excluded.seen_at)
"""
_PRUNE = (
    "DELETE FROM completion_views WHERE ctid = ANY (ARRAY(SELECT ctid FROM completion_views WHERE seen_at < %s LIMIT "
    f"{PRUNED_ROWS}))"
)
_GROUPS: dict[Group, sql.SQL] = {
    "day": sql.SQL("(seen_at AT TIME ZONE 'UTC')::date"),
    "language": sql.SQL("language"),
    "model": sql.SQL("model"),
    "user": sql.SQL("username"),
}
_FIGURES = sql.SQL(
    """count(shown_at) AS shown, count(accepted_at) AS accepted, count(dismissed_at) AS dismissed,
    count(accepted_at)::double precision / nullif(count(shown_at), 0) AS acceptance_rate,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY elapsed_ms) FILTER (WHERE accepted_at IS NOT NULL)
        AS accepted_after_p50_ms,
    coalesce(sum(characters) FILTER (WHERE accepted_at IS NOT NULL), 0)::bigint AS accepted_characters,
    coalesce(sum(lines) FILTER (WHERE accepted_at IS NOT NULL), 0)::bigint AS accepted_lines"""
)


@dataclass(frozen=True, slots=True)
class ViewEvent:
    """Something that became of a view, with what is known of its completion."""

    completion_id: str
    choice_index: int
    view_id: str
    kind: Kind
    at: datetime
    username: str | None = None
    language: str | None = None
    model: str | None = None
    elapsed_ms: int | None = None
    select_kind: str | None = None
    characters: int | None = None
    lines: int | None = None


class ViewWriter:
    """One connection of its own."""

    def __init__(self, database: Database, prepare: Callable[[], Awaitable[None]]) -> None:
        """`prepare` makes sure that the tables are there."""
        self._prepare = prepare
        self._connection = OwnConnection(database)

    async def write(self, events: Sequence[ViewEvent]) -> None:
        """All of them or none. Raises RowsRefused, and UnavailableError where the database can't take any now."""
        await self._prepare()
        columns = [[getattr(event, name) for event in events] for name in ViewEvent.__slots__]
        try:
            async with self._connection.attempt() as connection:
                await connection.execute(_WRITE, columns)
        except Exception as error:
            refuse(error)

    async def close(self) -> None:
        await self._connection.close()


class AcceptanceReader(JournalReader):
    @classmethod
    def of(cls, journal: JournalReader) -> Self:
        """On the same connection."""
        return cls(journal._connection)

    def acceptance(self, since: datetime, until: datetime, group: Group | None) -> list[DictRow]:
        """Figures of each group's views, or of all; the most shown first, days in order. Both moments are of the
        views' first events. A completion of which one line was accepted counts with all of its characters."""
        key = _GROUPS[group] if group is not None else sql.SQL("NULL")
        order = sql.SQL("1" if group == "day" else "shown DESC, 1")
        query = sql.SQL(
            "SELECT {} AS key, {} FROM completion_views WHERE seen_at >= %s AND seen_at < %s GROUP BY 1 ORDER BY {}"
        ).format(key, _FIGURES, order)
        return self._connection.execute(query, [since, until]).fetchall()


async def delete_before(connection: psycopg.AsyncConnection[Any], moment: datetime) -> int:
    """A few thousand at a time, each in its own transaction; returns how many."""
    deleted = 0
    while (done := (await connection.execute(_PRUNE, [moment])).rowcount) > 0:
        deleted += done
    return deleted
