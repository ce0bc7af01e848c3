"""The command line of the journal: `kodify journal …`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

import typer

from kodify import journal_export, journal_report, moments, terminal
from kodify.db import acceptance as views
from kodify.db.acceptance import AcceptanceReader
from kodify.db.journal_queries import Group, JournalReader, now, reading
from kodify.db.places import journal_database
from kodify.errors import ConfigError, KodifyError
from kodify.journal import build_writer
from kodify.settings import Settings

app = typer.Typer(help="The journal of API requests.", no_args_is_help=True)

FOLLOW_S = 1.0
LATE_S = 15.0
GROUPS: tuple[Group, ...] = ("day", "model", "user", "route")
VIEW_GROUPS: tuple[views.Group, ...] = ("day", "language", "model", "user")
Figures = dict[str, list[dict[str, Any]]]
Name = TypeVar("Name", bound=str)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
User = Annotated[str | None, typer.Option(help="Only this user's: an e-mail or a client's address.")]
Errors = Annotated[bool, typer.Option("--errors", help="Only those that were refused, failed or cancelled.")]
Since = Annotated[str, typer.Option(help="An age (30m, 12h, 7d, 4w) or a moment (2026-11-01, 2026-11-01T09:00).")]
Until = Annotated[str | None, typer.Option(help="The same; unset: now.")]


@app.command()
def tail(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000, help="How many.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    user: User = None,
    errors: Errors = False,
    as_json: AsJson = False,
) -> None:
    """Print the newest entries, without their contents."""
    with _journal() as journal:
        found = journal.newest(lines, user=user, errors=errors)
        _print_lines(found, as_json, head=True)
        before = journal.just_ended(LATE_S) if follow else []
        shown = {row["id"] for row in (*before, *found)}
        with contextlib.suppress(KeyboardInterrupt):
            while follow:
                time.sleep(FOLLOW_S)
                # Entries come in the order in which answers end, and from several replicas.
                recent = journal.just_ended(LATE_S, user=user, errors=errors)
                _print_lines([row for row in recent if row["id"] not in shown], as_json, head=False)
                shown = {row["id"] for row in recent}


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="An entry's id, or a request's (`x-request-id`).")],
    with_config: Annotated[bool, typer.Option("--config", help="With the configuration of then.")] = False,
) -> None:
    """Print whole entries as JSON."""
    with _journal() as journal:
        found = journal.find(name)
        if not found:
            terminal.refuse(KodifyError(f"The journal has no entry {name}."))
            raise typer.Exit(1)
        for row in found:
            if with_config:
                config = journal.config(row["config_id"])
                row["config"] = config["settings"] if config else None
            typer.echo(json.dumps(journal_export.parsed(row), indent=2, ensure_ascii=False))


@app.command()
def export(
    since: Since,
    until: Until = None,
    format_: Annotated[str, typer.Option("--format", help="jsonl, csv or parquet.")] = "jsonl",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; unset: standard output.")] = None,
) -> None:
    """Write whole entries, the oldest first."""
    write = journal_export.FORMATS.get(format_)
    if write is None:
        terminal.refuse(KodifyError(f"--format {format_}: it must be {', '.join(journal_export.FORMATS)}."))
        raise typer.Exit(1)
    with _journal() as journal, _opened(output) as file:
        count = write(journal.between(moment(since), moment(until) if until else now()), file)
    typer.echo(f"{count} entries", err=True)


@app.command()
def stats(
    since: Since = "30d",
    until: Until = None,
    by: Annotated[str | None, typer.Option(help="day, model, user or route; unset: each of them.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print requests, tokens, users, times and errors, by day, model, user and route."""
    groups = _groups(by, GROUPS)
    start, end = moment(since), moment(until) if until else now()
    with _journal() as journal:
        found: Figures = {"all": journal.stats(start, end, None)}
        found |= {group: journal.stats(start, end, group) for group in groups}
    _print_figures(found, start, end, as_json, journal_report.stats)


@app.command()
def acceptance(
    since: Since = "7d",
    until: Until = None,
    by: Annotated[str | None, typer.Option(help="day, language, model or user; unset: each of them.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print what became of completions: shown, accepted, dismissed, by day, language, model and user.

    A completion of which a line was accepted counts with all of its lines.
    """
    groups = _groups(by, VIEW_GROUPS)
    start, end = moment(since), moment(until) if until else now()
    with _journal() as journal:
        reader = AcceptanceReader.of(journal)
        found: Figures = {"all": reader.acceptance(start, end, None)}
        found |= {group: reader.acceptance(start, end, group) for group in groups}
    _print_figures(found, start, end, as_json, journal_report.acceptance)


@app.command()
def prune(
    older_than: Annotated[str, typer.Option(help="An age (90d, 52w) or a moment.")],
    content: Annotated[bool, typer.Option("--content", help="Empty requests' and answers' texts, keep rows.")] = False,
) -> None:
    """Drop the months all of whose entries are older, and delete older views of completions; with --content only empty
    what was said."""
    limit = moment(older_than)

    async def work() -> str:
        writer = build_writer(Settings.load(), migrate=False)
        try:
            await writer.prepare()
            if content:
                return f"{await writer.empty_before(limit)} entries emptied"
            dropped = await writer.drop_before(limit)
            deleted = await writer.delete_views_before(limit)
            done = f"dropped: {', '.join(dropped)}" if dropped else "no month is wholly older"
            return f"{done}\n{deleted} views of completions deleted" if deleted else done
        finally:
            await writer.stop()

    with _refusing():
        typer.echo(asyncio.run(work()))


def moment(text: str) -> datetime:
    """`7d` ago, or a date or time, in UTC where it names no zone. Exits with a sentence otherwise."""
    try:
        return moments.moment(text, now())
    except ValueError as error:
        terminal.refuse(KodifyError(str(error)))
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _journal() -> Iterator[JournalReader]:
    with _refusing():
        settings = Settings.load()
        if not settings.logs and settings.logs_db_host is None:
            raise ConfigError("There is no journal: set LOGS=True, LOGS_DB_HOST and the other LOGS_DB_… variables.")
        database = journal_database(settings)
        try:
            with reading(database) as reader:
                yield reader
        finally:
            asyncio.run(database.close())


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except KodifyError as error:
        terminal.refuse(error)
        raise typer.Exit(1) from None
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        raise typer.Exit(0) from None


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}.") from None
    with file:
        yield file


def _print_lines(rows: list[dict[str, Any]], as_json: bool, *, head: bool) -> None:
    if as_json:
        for row in rows:
            typer.echo(json.dumps(journal_export.plain(row), ensure_ascii=False))
        return
    for line in journal_report.lines(rows, head=head):
        typer.echo(line)


def _groups(by: str | None, known: Sequence[Name]) -> list[Name]:
    """The one that was asked for, or all. Exits with a sentence where there is no such one."""
    groups = [group for group in known if by in (None, group)]
    if not groups:
        terminal.refuse(KodifyError(f"--by {by}: it must be {', '.join(known)}."))
        raise typer.Exit(1)
    return groups


def _print_figures(
    found: Figures, start: datetime, end: datetime, as_json: bool, render: Callable[[str, list[dict[str, Any]]], str]
) -> None:
    if as_json:
        shown = {"since": start.isoformat(), "until": end.isoformat()}
        typer.echo(json.dumps(shown | {k: [journal_export.plain(row) for row in rows] for k, rows in found.items()}))
        return
    for group, rows in found.items():
        typer.echo(render(group, rows))
