"""Run by `kodify.db.migrations`, or by alembic's own command with the settings of the environment."""

from alembic import context

from kodify.db import migrations
from kodify.db.chats_tables import chats_tables
from kodify.db.places import chats_database
from kodify.settings import Settings

if "tables" in context.config.attributes:
    migrations.run(context, context.config.attributes["tables"])
else:
    settings = Settings.load()
    migrations.run(context, chats_tables(settings.chats_table_name), chats_database(settings))
