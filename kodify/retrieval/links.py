"""Addresses of what was found, in the web pages of the repository that it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from kodify.retrieval.base import Origin


@dataclass(frozen=True, slots=True)
class Form:
    """How a kind of server writes addresses. `source`: what shows a document as it is, where it would be rendered."""

    address: str
    source: str


FORMS = {
    "github": Form("https://{host}/{repository}/blob/{commit}/{path}#L{start}-L{end}", "?plain=1"),
    "gitlab": Form("https://{host}/{repository}/-/blob/{commit}/{path}#L{start}-{end}", "?plain=1"),
    "gitea": Form("https://{host}/{repository}/src/commit/{commit}/{path}#L{start}-L{end}", "?display=source"),
}
_KINDS = {"github": "github", "gitlab": "gitlab", "gitea": "gitea", "forgejo": "gitea", "codeberg": "gitea"}
_REPOSITORY = re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)*)((?:/[\w.~-]+)+)", re.ASCII | re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_RENDERED = re.compile(r"\.(md|markdown|mdown|rst|adoc|asciidoc|org|textile)$", re.IGNORECASE)
WITHOUT_LINES = frozenset({"pdf", "docx", "html"})  # their pieces' places are not lines of the file


def link(servers: Mapping[str, str], origin: Origin, language: str, start: int, end: int) -> str | None:
    """`servers`: a form's name, or an address with places to fill in, for hosts whose names don't tell. None where
    it is not known. What is filled in is quoted: a document's path can't lead elsewhere."""
    if origin.repository is None or origin.commit is None or origin.path is None:
        return None
    named = _REPOSITORY.fullmatch(origin.repository)
    if named is None or not _COMMIT.fullmatch(origin.commit) or {".", ".."} & {*origin.path.split("/")}:
        return None
    host, repository = named[1].lower(), named[2].strip("/")
    if {".", ".."} & {*repository.split("/")}:
        return None
    known = servers.get(host) or next(
        (_KINDS[one] for label in host.split(".") for one in _KINDS if one in label), None
    )
    if known is None:
        return None
    form = FORMS.get(known) or Form(known, "")
    address = form.address
    if language in WITHOUT_LINES:
        address = address.partition("#")[0]
    elif form.source and _RENDERED.search(origin.path):
        address = address.replace("{path}", "{path}" + form.source)
    places = {
        "host": host,
        "repository": repository,
        "commit": origin.commit,
        "path": quote(origin.path.encode("utf-8", "replace")),
        "start": str(start),
        "end": str(end),
    }
    return re.sub(r"\{(\w+)\}", lambda place: places.get(place[1], place[0]), address)
