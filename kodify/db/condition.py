"""How a database and its tables are, for who looks at a running installation. Changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from kodify.db import migrations
from kodify.db.database import Database
from kodify.db.schema import Schema
from kodify.errors import ConfigError

PATIENCE_MS = 10_000  # a migration that runs may hold the tables


@dataclass(frozen=True, slots=True)
class Condition:
    version: str  # of the server
    ahead_s: float  # its clock, of ours
    connections: int
    most_connections: int


def examine(database: Database, tables: Schema) -> Condition:
    """Blocks, but not for a migration that runs or hangs. Raises ConfigError, or UnreachableError, with what to mend:
    also where the tables are not up to date."""
    database.find(make=False)
    try:
        return _examine(database, tables)
    except DBAPIError as error:
        reason = str(error.orig).strip().split("\n")[0]
        raise ConfigError(
            f"The tables at {database.shown} ({tables.setting}) can't be looked at: {reason}. See whether the role "
            "owns them."
        ) from None


def _examine(database: Database, tables: Schema) -> Condition:
    with migrations.connected(database) as connection:
        connection.execute(text(f"SET statement_timeout = {PATIENCE_MS}"))
        migrations.check_version(connection, tables)
        before = time.time()
        row = connection.execute(
            text(
                "SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp()),"
                " (SELECT count(*) FROM pg_stat_activity), current_setting('max_connections')::int"
            )
        ).one()
        now = (before + time.time()) / 2
    return Condition(str(row[0]).split()[0], float(row[1]) - now, int(row[2]), int(row[3]))
