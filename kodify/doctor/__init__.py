"""How a running installation is: what `kodify doctor` looks at."""

from __future__ import annotations

from collections.abc import Iterator

from kodify import verdicts
from kodify.doctor import certificates, collections, databases, host, server
from kodify.doctor.finding import Finding, failed, ok
from kodify.settings import Settings

__all__ = ["Finding", "examine"]


def examine(settings: Settings, url: str | None = None, ca: str | None = None) -> Iterator[Finding]:
    """One after the other, as they are known. `url`: of the running server, where it is not HOST and PORT; `ca`: a file
    with the certificates that it is trusted by."""
    yield from server.look(settings, url, ca)
    yield from _settings(settings)
    yield from databases.look(settings)
    yield from collections.look(settings)
    yield from host.look(settings)
    yield from certificates.look(settings)


def _settings(settings: Settings) -> Iterator[Finding]:
    """What runs may have been started before they were changed."""
    problems = list(verdicts.standing(settings))
    for problem in problems:
        yield failed("settings", problem)
    if not problems:
        yield ok("settings", "Kodify would start with them; `kodify check` shows them.")
