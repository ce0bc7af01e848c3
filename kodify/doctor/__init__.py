"""How a running installation is: what `kodify doctor` looks at."""

from __future__ import annotations

from collections.abc import Iterator

from kodify.doctor import databases, host, server
from kodify.doctor.finding import Finding
from kodify.settings import Settings

__all__ = ["Finding", "examine"]


def examine(settings: Settings, url: str | None = None, ca: str | None = None) -> Iterator[Finding]:
    """One after the other, as they are known. `url`: of the running server, where it is not HOST and PORT; `ca`: a file
    with the certificates that it is trusted by."""
    yield from server.look(settings, url, ca)
    yield from databases.look(settings)
    yield from host.look(settings)
