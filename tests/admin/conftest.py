"""A server with users, a journal and one administrator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from kodify.engine.scripted import Script
from tests.auth.test_users import Company, found_company
from tests.conftest import Serve
from tests.journal.conftest import Place, make_place

Office = Callable[..., Company]


@pytest.fixture
def place(postgres: str, tmp_path: Path) -> Iterator[Place]:
    found = make_place(postgres, tmp_path)
    yield found
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{found.variables["LOGS_DB_NAME"]}" WITH (FORCE)')


@pytest.fixture
def office(serve: Serve, users: dict[str, object], place: Place) -> Office:
    """office(script, LOGS=False…): the company, with a journal where it is not told otherwise."""

    def start(script: Script | None = None, **variables: object) -> Company:
        given = {**users, **place.variables, **variables}
        return found_company(lambda **own: serve(script, **own), given)

    return start
