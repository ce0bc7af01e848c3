"""Where the settings say that the databases are."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL

from kodify.db.database import EMBEDDED, Database
from kodify.errors import ConfigError
from kodify.settings import Settings

JOURNAL_NAME, CHATS_NAME = "kodify_journal", "kodify_chats"


def users_database(settings: Settings) -> Database:
    if settings.db_url is None:
        raise ConfigError("There are no users: set MTSAI_AUTH=true, AUTH_TYPE=DB and DB_URL.")
    return Database(settings.db_url.get_secret_value(), _embedded(settings))


def chats_database(settings: Settings) -> Database:
    """Beside the users where CHATS_DB_URL is unset; a server of our own where they have no place either."""
    if settings.chats_db_url is None and settings.db_url is not None:
        return Database(settings.db_url.get_secret_value(), _embedded(settings))
    address = settings.chats_db_url.get_secret_value() if settings.chats_db_url is not None else EMBEDDED
    return Database(address, _embedded(settings), setting="CHATS_DB_URL", embedded_name=CHATS_NAME)


def embedded_is_there(settings: Settings) -> bool:
    """Whether a server of our own has ever run here."""
    return _embedded(settings).exists()


def journal_database(settings: Settings) -> Database:
    if settings.logs_db_host is None:
        raise ConfigError("There is no journal: set LOGS=True, LOGS_DB_HOST and the other LOGS_DB_… variables.")
    if settings.logs_db_host == EMBEDDED:
        name = settings.logs_db_name or JOURNAL_NAME
        return Database(EMBEDDED, _embedded(settings), setting="LOGS_DB_HOST", embedded_name=name)
    password = settings.logs_db_password
    host, port = settings.logs_db_host, settings.logs_db_port
    socket = host.startswith("/")  # the folder of a local server's socket, which has no place in an address
    url = URL.create(
        "postgresql",
        username=settings.logs_db_username,
        password=password.get_secret_value() if password is not None else None,
        host=None if socket else host,
        port=None if socket else port,
        database=settings.logs_db_name,
        query={"host": host, "port": str(port or 5432)} if socket else {},
    )
    return Database(url, _embedded(settings), setting="LOGS_DB_…")


def _embedded(settings: Settings) -> Path:
    return Path(settings.data_path) / "postgres"
