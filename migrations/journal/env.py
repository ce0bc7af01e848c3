"""Run by `kodify.db.migrations`, or by alembic's own command with the settings of the environment."""

from alembic import context

from kodify.db import migrations
from kodify.db.journal_tables import SCHEMA
from kodify.db.places import journal_database
from kodify.settings import Settings

migrations.run(context, SCHEMA, None if "tables" in context.config.attributes else journal_database(Settings.load()))
