"""Alembic's migrations, run by the start and by `kodify migrate`; several replicas at once run them once."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from kodify.db.database import Database
from kodify.db.tables import UsersTables
from kodify.errors import ConfigError

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations" / "users"


def prepare(database: Database, tables: UsersTables, *, migrate: bool) -> None:
    """Blocks. Makes the tables on a first start, brings them up to date where `migrate`.

    Raises ConfigError where the table is another program's, or is out of date and `migrate` is off.
    """
    with _locked(database, tables) as connection:
        found = inspect(connection)
        config = _config(connection, tables)
        ours = found.has_table(tables.version_table, schema=tables.schema)
        if not ours and found.has_table(tables.name, schema=tables.schema):
            raise ConfigError(
                f"The table {_shown(tables)} (USERS_TABLE) exists and is not Kodify's: name another one, which Kodify "
                "makes itself."
            )
        current = _current(connection, tables) if ours else None
        if current is not None and not migrate:
            return _check_version(current, config, tables)
        if tables.schema is not None and not found.has_schema(tables.schema):
            connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{tables.schema}"')
        command.upgrade(config, "head")
        connection.commit()


def downgrade(database: Database, tables: UsersTables) -> None:
    """Blocks. Takes the tables away, with everything in them."""
    with _locked(database, tables) as connection:
        command.downgrade(_config(connection, tables), "base")
        connection.commit()


def check(database: Database, tables: UsersTables) -> None:
    """Blocks. Raises alembic's CommandError where the tables differ from the classes."""
    with _locked(database, tables) as connection:
        command.check(_config(connection, tables))


class _locked:
    """A connection that holds the lock of these tables' migrations."""

    def __init__(self, database: Database, tables: UsersTables) -> None:
        self._engine = create_engine("postgresql+psycopg://", creator=database.blocking_connection, poolclass=NullPool)
        self._key = crc32(f"kodify.{tables.schema}.{tables.name}".encode())

    def __enter__(self) -> Connection:
        self._connection = self._engine.connect()
        self._connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": self._key})
        self._connection.commit()  # the lock is the session's, not the transaction's
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()  # and with it the lock
        self._engine.dispose()


def _config(connection: Connection, tables: UsersTables) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, tables=tables)
    return config


def _current(connection: Connection, tables: UsersTables) -> str | None:
    options = {"version_table": tables.version_table, "version_table_schema": tables.schema}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _check_version(current: str, config: Config, tables: UsersTables) -> None:
    scripts = ScriptDirectory.from_config(config)
    if current == scripts.get_current_head():
        return
    if current not in {script.revision for script in scripts.walk_revisions()}:
        raise ConfigError(f"The table {_shown(tables)} was migrated by a newer Kodify ({current}): upgrade this one.")
    raise ConfigError(f"The table {_shown(tables)} is out of date: run `kodify migrate`, or set RUN_MIGRATIONS=1.")


def _shown(tables: UsersTables) -> str:
    return f"{tables.schema}.{tables.name}" if tables.schema else tables.name
