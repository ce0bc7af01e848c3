"""What an answer rests on: the passages that were found for its question."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    tables = context.config.attributes["tables"]
    op.add_column(f"{tables.name}_messages", sa.Column("sources", JSONB), schema=tables.schema)


def downgrade() -> None:
    tables = context.config.attributes["tables"]
    op.drop_column(f"{tables.name}_messages", "sources", schema=tables.schema)
