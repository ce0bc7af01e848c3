"""The databases: whether they answer, have the tables of this Kodify, and tell the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from kodify.db.chats_tables import chats_tables
from kodify.db.condition import Condition, examine
from kodify.db.database import Database, UnreachableError
from kodify.db.journal_tables import SCHEMA
from kodify.db.places import chats_database, journal_database, users_database
from kodify.db.schema import Schema
from kodify.db.tables import users_tables
from kodify.doctor.finding import Finding, failed, ok, warning
from kodify.errors import KodifyError
from kodify.settings import Settings

MOST_SKEW_S = 5.0  # tokens end by the database's clock, sign-ons by ours
FULL = 0.9  # of its connections


def look(settings: Settings) -> Iterator[Finding]:
    found = list(_places(settings))
    for about, database, tables in found:
        yield from _look(about, database, tables)
    if not (found or settings.mtsai_auth or settings.logs):
        yield ok("databases", "none is configured: no users, no journal.")


def _places(settings: Settings) -> Iterator[tuple[str, Database, Schema]]:
    if settings.mtsai_auth and settings.db_url is not None:
        yield "users", users_database(settings), users_tables(settings.users_table)
    if settings.logs and settings.logs_db_host is not None:
        yield "journal", journal_database(settings), SCHEMA
    if settings.chats_db_url is not None or (settings.mtsai_auth and settings.db_url is not None):
        yield "chats", chats_database(settings), chats_tables(settings.chats_table_name)


def _look(about: str, database: Database, tables: Schema) -> Iterator[Finding]:
    try:
        condition = examine(database, tables)
    except UnreachableError as error:
        yield failed(about, f"{error.message} See whether it runs, and whether its address and password are right.")
        return
    except KodifyError as error:
        yield failed(about, error.message)
        return
    finally:
        asyncio.run(database.close())
    yield ok(about, f"PostgreSQL {condition.version} at {database.shown}, the tables are up to date.")
    yield from _figures(about, condition)


def _figures(about: str, condition: Condition) -> Iterator[Finding]:
    if abs(condition.ahead_s) > MOST_SKEW_S:
        direction = "ahead of" if condition.ahead_s > 0 else "behind"
        yield warning(
            f"{about}, clock",
            f"the database's clock is {abs(condition.ahead_s):.0f} s {direction} this host's: set both by NTP.",
        )
    if condition.connections > FULL * condition.most_connections:
        yield warning(
            f"{about}, connections",
            f"{condition.connections} of {condition.most_connections} are taken: raise max_connections, or run fewer "
            "replicas.",
        )
