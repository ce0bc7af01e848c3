"""`kodify doctor`: looks at a running installation, and says what is wrong with it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from kodify import terminal
from kodify.errors import KodifyError
from kodify.settings import Settings


def doctor(
    url: Annotated[str | None, typer.Option(help="The server's address, where it is not HOST and PORT.")] = None,
    ca: Annotated[str | None, typer.Option(help="Certificates (PEM) that the server is trusted by.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at the running server, its databases, spool, disk, clock and certificates. To be run with the server's
    settings, as its user."""
    from kodify.doctor import examine

    try:
        settings = Settings.load()
    except KodifyError as error:
        terminal.refuse(error)
        raise typer.Exit(1) from None
    bad = 0
    found = []
    for finding in examine(settings, url, ca):
        bad += finding.state == "failed"
        found.append({"state": finding.state, "about": finding.about, "sentence": finding.sentence})
        if not as_json:
            typer.echo(f"{finding.state:<8} {finding.about}: {finding.sentence}")
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    raise typer.Exit(1 if bad else 0)
