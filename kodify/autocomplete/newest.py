"""The newest completion of a document ends the older ones: nobody reads what was asked for an older text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

# Two states of one text differ in no more than this at their ends.
EDITED_CHARACTERS = 256


@dataclass(eq=False, slots=True)
class Running:
    """One completion on its way. `end` is told once; where there is nothing to end yet, `superseded` says it."""

    document: str | None
    is_sure: bool
    prefix: str = field(repr=False)
    suffix: str = field(repr=False)
    superseded: bool = False
    on_end: Callable[[], None] | None = None

    def end(self) -> None:
        self.superseded = True
        if self.on_end is not None:
            self.on_end()


class Newest:
    """One for each app."""

    def __init__(self) -> None:
        self._running: dict[str, list[Running]] = {}

    def begin(self, who: str, document: str | None, prefix: str, suffix: str, *, is_sure: bool = True) -> Running:
        """Ends what the same person asked of the same document at another place. Not `is_sure`: several persons may
        come as this one, so that their texts must tell as well."""
        own = Running(document, is_sure, prefix, suffix)
        others = self._running.setdefault(who, [])
        for other in list(others):
            if _same_document(own, other) and (other.prefix, other.suffix) != (prefix, suffix):
                others.remove(other)
                other.end()
        others.append(own)
        return own

    def done(self, who: str, running: Running) -> None:
        others = self._running.get(who, [])
        if running in others:
            others.remove(running)
        if not others:
            self._running.pop(who, None)


def _same_document(one: Running, other: Running) -> bool:
    if one.document != other.document:
        return False
    if one.document is not None and one.is_sure and other.is_sure:
        return True
    before, after = _surely_shared(one.prefix, other.prefix), _surely_shared(one.suffix, other.suffix)
    if before is None or after is None:
        return False
    same_start = one.prefix[:before] == other.prefix[:before]
    return same_start and one.suffix[len(one.suffix) - after :] == other.suffix[len(other.suffix) - after :]


def _surely_shared(one: str, other: str) -> int | None:
    """How many characters two states of one text share; None where their lengths differ too much for that. Of short
    texts it is half."""
    shorter, longer = sorted((len(one), len(other)))
    return None if longer - shorter > EDITED_CHARACTERS else max(shorter // 2, shorter - EDITED_CHARACTERS)
