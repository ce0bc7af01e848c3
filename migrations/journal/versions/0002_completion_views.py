"""What became of completions in the editors: a row for each view."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "completion_views",
        sa.Column("completion_id", sa.Text, nullable=False),
        sa.Column("choice_index", sa.Integer, nullable=False),
        sa.Column("view_id", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("username", sa.Text),
        sa.Column("language", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("shown_at", sa.DateTime(timezone=True)),
        sa.Column("accepted_at", sa.DateTime(timezone=True)),
        sa.Column("dismissed_at", sa.DateTime(timezone=True)),
        sa.Column("elapsed_ms", sa.Integer),
        sa.Column("select_kind", sa.Text),
        sa.Column("characters", sa.Integer),
        sa.Column("lines", sa.Integer),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("completion_id", "choice_index", "view_id"),
    )
    op.create_index("ix_completion_views_seen_at", "completion_views", ["seen_at"])


def downgrade() -> None:
    op.drop_table("completion_views")
