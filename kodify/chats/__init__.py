"""Chats that people have with a model: kept for a while, followed by any number of sockets, on any replica."""

from __future__ import annotations

from kodify.chats.answer import Answer
from kodify.chats.chats import Chats
from kodify.chats.follower import Closing, Follower, Said
from kodify.chats.making import make
from kodify.chats.mirror import ending_of
from kodify.chats.stream import Ending, Stream, units_of
from kodify.chats.turn import Turn, take_turn
from kodify.db.chats_tables import chats_tables
from kodify.db.places import chats_database, embedded_is_there
from kodify.settings import Settings

__all__ = [
    "Answer",
    "Chats",
    "Closing",
    "Ending",
    "Follower",
    "Said",
    "Stream",
    "Turn",
    "build",
    "ending_of",
    "make",
    "take_turn",
    "units_of",
]


def build(settings: Settings, *, migrate: bool | None = None) -> Chats:
    is_configured = settings.chats_db_url is not None or settings.db_url is not None
    return Chats(
        chats_database(settings),
        chats_tables(settings.chats_table_name),
        migrate=settings.run_migrations if migrate is None else migrate,
        hours=settings.chat_hours,
        is_there=None if is_configured else lambda: embedded_is_there(settings),
    )
