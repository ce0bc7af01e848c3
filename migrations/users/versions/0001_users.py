"""Users, their tokens, the audit of what administrators did."""

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def names() -> tuple[str | None, str, str]:
    """The schema, the users' table, and the schema as SQL writes it before a name."""
    tables = context.config.attributes["tables"]
    return tables.schema, tables.name, f'"{tables.schema}".' if tables.schema else ""


def key() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True)


def moment(name: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)  # type: ignore[arg-type]


def upgrade() -> None:
    schema, users, qualified = names()
    index = f"ix_{schema}_{users}" if schema else f"ix_{users}"
    op.create_table(
        users,
        key(),
        sa.Column("email", sa.Text, nullable=False, unique=True),
        sa.Column("password_hash", sa.Text),
        sa.Column("subject", sa.Text, unique=True),
        sa.Column("expires_on", sa.Date, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("privileged", sa.Boolean, nullable=False, server_default=sa.text("false")),
        moment("created_at", nullable=False, server_default=sa.text("now()")),
        schema=schema,
    )
    op.create_table(
        f"{users}_tokens",
        key(),
        sa.Column(
            "user_id",
            sa.BigInteger,
            sa.ForeignKey(f"{schema}.{users}.id" if schema else f"{users}.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("prefix", sa.Text, nullable=False),
        moment("created_at", nullable=False, server_default=sa.text("now()")),
        moment("expires_at"),
        moment("last_used_at"),
        schema=schema,
    )
    op.create_index(op.f(f"{index}_tokens_user_id"), f"{users}_tokens", ["user_id"], schema=schema)
    op.create_table(
        f"{users}_audit",
        key(),
        moment("at", nullable=False, server_default=sa.text("now()")),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        schema=schema,
    )
    op.create_index(op.f(f"{index}_audit_at"), f"{users}_audit", ["at"], schema=schema)
    op.create_table(
        f"{users}_counters",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        moment("expires_at", nullable=False),
        schema=schema,
    )
    op.execute(
        f"""CREATE FUNCTION {qualified}"{users}_audit_only_grows"() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the audit only grows'; END $$"""
    )
    op.execute(
        f"""CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {qualified}"{users}_audit"
        FOR EACH STATEMENT EXECUTE FUNCTION {qualified}"{users}_audit_only_grows"()"""
    )


def downgrade() -> None:
    schema, users, qualified = names()
    op.drop_table(f"{users}_counters", schema=schema)
    op.drop_table(f"{users}_audit", schema=schema)
    op.execute(f'DROP FUNCTION {qualified}"{users}_audit_only_grows"()')
    op.drop_table(f"{users}_tokens", schema=schema)
    op.drop_table(users, schema=schema)
