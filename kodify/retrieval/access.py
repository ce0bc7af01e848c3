"""Who may search which collection."""

from __future__ import annotations

from kodify.config_file import RetrievalEntry


def may_search(entry: RetrievalEntry, collection: str, user: str | None, *, is_administrator: bool) -> bool:
    """`user` is None where clients have no names: then there is nobody to tell apart, and everyone may."""
    if user is None or is_administrator:
        return True
    listed = entry.collections.get(collection)
    if listed is None:
        return entry.unlisted == "everyone"
    if not listed.users and not listed.groups:
        return True
    allowed = {one.lower() for one in listed.users}
    for group in listed.groups:
        allowed |= {one.lower() for one in entry.groups[group]}
    return user.lower() in allowed
