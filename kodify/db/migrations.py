"""Alembic's migrations, run by the start, by `kodify migrate`, by alembic's own command; once, however many run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from kodify.db.database import Database
from kodify.db.schema import Schema
from kodify.errors import ConfigError


def prepare(database: Database, tables: Schema, *, migrate: bool) -> None:
    """Blocks. Makes the tables or brings them up to date where `migrate`.

    Raises ConfigError where the tables are another program's, or not as they should be and `migrate` is off.
    """
    with locked(database, tables) as connection:
        found = inspect(connection)
        config = _config(connection, tables)
        ours = found.has_table(tables.version_table, schema=tables.schema)
        if not ours and found.has_table(tables.name, schema=tables.schema):
            raise ConfigError(
                f"The table {tables.shown} ({tables.setting}) exists and is not Kodify's: name another one, which "
                "Kodify makes itself."
            )
        current = _current(connection, tables) if ours else None
        if current is not None and not migrate:
            return _check_version(current, config, tables)
        if not migrate and not tables.made_at_first_start:
            raise ConfigError(
                f"The database ({tables.setting}) has no table {tables.shown}: run `kodify migrate`, or set "
                "RUN_MIGRATIONS=1."
            )
        command.upgrade(config, "head")
        connection.commit()


def check_version(connection: Connection, tables: Schema) -> None:
    """Raises ConfigError where there are no such tables, or not those of this Kodify."""
    if not inspect(connection).has_table(tables.version_table, schema=tables.schema):
        raise ConfigError(
            f"The database ({tables.setting}) has no table {tables.shown} of Kodify's: run `kodify migrate`."
        )
    current = _current(connection, tables)
    if current is None:
        raise ConfigError(f"The table {tables.shown} was never migrated: run `kodify migrate`.")
    _check_version(current, _config(connection, tables), tables)


def downgrade(database: Database, tables: Schema) -> None:
    """Blocks. Takes the tables away, with everything in them."""
    with locked(database, tables) as connection:
        command.downgrade(_config(connection, tables), "base")
        connection.commit()


def check(database: Database, tables: Schema) -> None:
    """Blocks. Raises alembic's CommandError where the tables differ from the classes."""
    with locked(database, tables) as connection:
        command.check(_config(connection, tables))


def run(context: Any, tables: Schema, database: Database | None = None) -> None:
    """What an env.py does with alembic's `context`: on the connection that it is handed, or, under alembic's own
    command, on one to `database`, which is made where it is missing."""
    if database is None:
        return _run(context, context.config.attributes["connection"], tables)
    context.config.attributes["tables"] = tables
    database.find(make=True)
    with locked(database, tables) as connection:
        _run(context, connection, tables)
        connection.commit()


def _run(context: Any, connection: Connection, tables: Schema) -> None:
    own = {table.name for table in tables.metadata.tables.values()}
    if tables.schema is not None and not inspect(connection).has_schema(tables.schema):
        connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{tables.schema}"')

    def include_name(name: str | None, kind: str, parents: object) -> bool:
        """Other tables and schemas of the database are nobody's business; partitions are made as months come."""
        if kind == "schema":
            return name == tables.schema
        return name in own if kind == "table" else True

    context.configure(
        connection=connection,
        target_metadata=tables.metadata,
        version_table=tables.version_table,
        version_table_schema=tables.schema,
        include_schemas=tables.schema is not None,
        include_name=include_name,
        compare_type=True,
        compare_server_default=False,
    )
    with context.begin_transaction():
        context.run_migrations()


@contextlib.contextmanager
def connected(database: Database) -> Iterator[Connection]:
    engine = create_engine("postgresql+psycopg://", creator=database.blocking_connection, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextlib.contextmanager
def locked(database: Database, tables: Schema) -> Iterator[Connection]:
    """A connection that holds the lock of these tables' migrations."""
    with connected(database) as connection:  # closed at the end, and with it the lock
        key = crc32(f"kodify.{tables.schema}.{tables.name}".encode())
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
        connection.commit()  # the lock is the session's, not the transaction's
        yield connection


def _config(connection: Connection, tables: Schema) -> Config:
    config = Config()
    config.set_main_option("script_location", str(tables.script_location))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, tables=tables)
    return config


def _current(connection: Connection, tables: Schema) -> str | None:
    options = {"version_table": tables.version_table, "version_table_schema": tables.schema}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _check_version(current: str, config: Config, tables: Schema) -> None:
    scripts = ScriptDirectory.from_config(config)
    if current == scripts.get_current_head():
        return
    if current not in {script.revision for script in scripts.walk_revisions()}:
        raise ConfigError(f"The table {tables.shown} was migrated by a newer Kodify ({current}): upgrade this one.")
    raise ConfigError(f"The table {tables.shown} is out of date: run `kodify migrate`, or set RUN_MIGRATIONS=1.")
