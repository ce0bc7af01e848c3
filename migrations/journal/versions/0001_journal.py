"""The journal, a partition for each month, and the configurations that its entries refer to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def moment(name: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, **options)  # type: ignore[arg-type]


def upgrade() -> None:
    op.create_table(
        "journal_configs",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("settings", JSONB, nullable=False),
        moment("first_seen_at", server_default=sa.text("now()")),
    )
    op.create_table(
        "journal",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("user", sa.Text),
        sa.Column("username", sa.Text),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("request", JSON),
        moment("request_dt"),
        sa.Column("response", JSON),
        moment("response_dt"),
        sa.Column("status_code", sa.Integer, nullable=False),
        sa.Column("config_id", sa.BigInteger, sa.ForeignKey("journal_configs.id"), nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("ttft_ms", sa.Double),
        sa.Column("duration_ms", sa.Double, nullable=False),
        sa.Column("finish_reason", sa.Text),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("request_dt", "id"),
        postgresql_partition_by="RANGE (request_dt)",
    )
    op.create_index("ix_journal_username_request_dt", "journal", ["username", "request_dt"])
    op.create_index("ix_journal_request_id", "journal", ["request_id"])
    # For what has just ended: of rows in nearly this order a few bytes a page range, not an entry a row.
    op.create_index("ix_journal_response_dt", "journal", ["response_dt"], postgresql_using="brin")


def downgrade() -> None:
    op.drop_table("journal")
    op.drop_table("journal_configs")
