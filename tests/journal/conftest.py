"""A journal in a database of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from tests.conftest import Served, eventually


@dataclass
class Place:
    """The database of a journal, and the variables that lead to it."""

    address: str
    variables: dict[str, object]

    @property
    def environment(self) -> dict[str, str]:
        """The variables as a process gets them."""
        return as_environment(self.variables)

    def rows(
        self, query: str = "SELECT * FROM journal ORDER BY request_dt, id", *values: object
    ) -> list[dict[str, Any]]:
        with psycopg.connect(self.address, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def count(self) -> int:
        return int(self.rows("SELECT count(*) AS n FROM journal")[0]["n"])


def as_environment(variables: Mapping[str, object]) -> dict[str, str]:
    return {
        name: str(value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in variables.items()
    }


def make_place(server: str, folder: Path) -> Place:
    name = f"j_{uuid.uuid4().hex[:12]}"
    info = psycopg.conninfo.conninfo_to_dict(server)
    variables: dict[str, object] = {
        "LOGS": True,
        "LOGS_DB_HOST": info.get("host", "localhost"),
        "LOGS_DB_PORT": int(info.get("port") or 5432),
        "LOGS_DB_NAME": name,
        "LOGS_DB_USERNAME": info.get("user", "postgres"),
        "LOGS_DB_PASSWORD": SecretStr(str(info.get("password", "none"))),
        "RUN_MIGRATIONS": True,
        "DATA_PATH": str(folder / "data"),
    }
    return Place(psycopg.conninfo.make_conninfo(server, dbname=name), variables)


@pytest.fixture
def place(postgres: str, tmp_path: Path) -> Iterator[Place]:
    found = make_place(postgres, tmp_path)
    yield found
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{found.variables["LOGS_DB_NAME"]}" WITH (FORCE)')


@dataclass
class Journaled:
    """A server with a journal."""

    served: Served
    place: Place

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Waits until so many entries are there."""
        eventually(lambda: self.place.count() >= count)
        return self.place.rows()

    def only_row(self) -> dict[str, Any]:
        (row,) = self.rows(1)
        return row


@pytest.fixture
def journaled(serve: Callable[..., Served], place: Place) -> Callable[..., Journaled]:
    def start(*script: object, **variables: object) -> Journaled:
        served = serve(*script, **{**place.variables, **variables})
        eventually(lambda: bool(served.app.state.ready))
        return Journaled(served, place)

    return start
