"""A request's record in the journal, where it has one."""

from __future__ import annotations

from typing import cast

import msgspec
from starlette.types import Scope

from kodify.journal import Record

_KEY = "record"  # in the request's state


def attach(scope: Scope, record: Record) -> None:
    scope["state"][_KEY] = record


def record_of(scope: Scope) -> Record | None:
    return cast("Record | None", scope["state"].get(_KEY))


def take(scope: Scope) -> Record | None:
    """Of a request whose work outlives it: who takes the record ends it, the request no more."""
    record = record_of(scope)
    if record is None:
        return None
    del scope["state"][_KEY]
    taken = msgspec.structs.replace(record)
    record.ended = True
    return taken
