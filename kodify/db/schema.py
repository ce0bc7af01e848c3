"""What the migrations need to know of a set of tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import MetaData

from kodify.shipped import shipped_folder

MIGRATIONS = shipped_folder("migrations")


@dataclass(frozen=True, kw_only=True)
class Schema:
    metadata: MetaData
    schema: str | None
    name: str  # of the first table, without its schema
    version_table: str  # where alembic keeps how far the tables are migrated; also the sign that they are Kodify's
    scripts: str  # the folder in migrations/
    setting: str  # whose value leads to the tables, for complaints
    made_at_first_start: bool  # or only by a migration

    @property
    def shown(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name

    @property
    def channel(self) -> str:
        """Of NOTIFY, where replicas tell each other what has changed in the tables."""
        return f"kodify_{self.schema or 'public'}_{self.name}"[:63]

    @property
    def script_location(self) -> Path:
        return MIGRATIONS / self.scripts
