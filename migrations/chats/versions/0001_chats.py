"""Chats and their messages, under the names that CHATS_TABLE gives."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def names() -> tuple[str | None, str, str]:
    """The schema, the chats' table, the messages'."""
    tables = context.config.attributes["tables"]
    return tables.schema, tables.name, f"{tables.name}_messages"


def moment(name: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, **options)  # type: ignore[arg-type]


def upgrade() -> None:
    schema, chats, messages = names()
    now = sa.text("now()")
    op.create_table(
        chats,
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("settings", JSONB, nullable=False),
        moment("created_at", server_default=now),
        moment("updated_at", server_default=now),
        moment("expires_at"),
        schema=schema,
    )
    op.create_index(f"ix_{chats}_owner_updated_at", chats, ["owner", "updated_at"], schema=schema)
    op.create_index(
        op.f(f"ix_{schema}_{chats}_expires_at" if schema else f"ix_{chats}_expires_at"),
        chats,
        ["expires_at"],
        schema=schema,
    )
    op.create_table(
        messages,
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column(
            "chat_id",
            sa.Uuid,
            sa.ForeignKey(f"{schema}.{chats}.id" if schema else f"{chats}.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("finish_reason", sa.Text),
        sa.Column("action", JSONB),
        sa.Column("diff", sa.Text),
        sa.Column("stop_asked", sa.Boolean, nullable=False, server_default=sa.text("false")),
        moment("created_at", server_default=now),
        moment("beat_at", server_default=now),
        schema=schema,
    )
    op.create_index(f"ix_{messages}_chat_id_position", messages, ["chat_id", "position"], schema=schema)
    # One answer at a time, whichever replica makes it; and the answers whose replica may have died.
    op.create_index(
        f"ix_{messages}_generating",
        messages,
        ["chat_id"],
        unique=True,
        postgresql_where=sa.text("status = 'generating'"),
        schema=schema,
    )


def downgrade() -> None:
    schema, chats, messages = names()
    op.drop_table(messages, schema=schema)
    op.drop_table(chats, schema=schema)
