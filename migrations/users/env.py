"""Run by `kodify.db.migrations`, or by alembic's own command with the settings of the environment."""

from alembic import context

from kodify.db import migrations
from kodify.db.places import users_database
from kodify.db.tables import users_tables
from kodify.settings import Settings

if "tables" in context.config.attributes:
    migrations.run(context, context.config.attributes["tables"])
else:
    settings = Settings.load()
    migrations.run(context, users_tables(settings.users_table), users_database(settings))
