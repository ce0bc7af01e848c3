"""Run by `kodify.db.migrations`, which hands over an open connection and the tables' names."""

from alembic import context

from kodify.db.tables import UsersTables

tables: UsersTables = context.config.attributes["tables"]


def include_name(name: str | None, kind: str, parents: object) -> bool:
    """Other tables and schemas of the database are nobody's business."""
    if kind == "schema":
        return name == tables.schema
    own = {table.name for table in tables.metadata.tables.values()}
    return name in own if kind == "table" else True


context.configure(
    connection=context.config.attributes["connection"],
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
