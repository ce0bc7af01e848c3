"""The command line: `kodify serve`, `kodify check`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from functools import partial
from typing import Annotated, Any

import typer

from kodify import __version__, cli_actions, cli_doctor, cli_journal, cli_retrieval, cli_users, logs, terminal, verdicts
from kodify.configured import build_engines
from kodify.errors import ConfigError, KodifyError
from kodify.settings import Settings

app = typer.Typer(help="Kodify: a self-hosted AI coding-assistant server.", no_args_is_help=True, add_completion=False)

app.add_typer(cli_actions.app)
app.add_typer(cli_users.app, name="users")
app.add_typer(cli_journal.app, name="journal")
app.add_typer(cli_retrieval.app, name="collections")
app.command()(cli_doctor.doctor)
app.command()(cli_retrieval.index)
app.command()(cli_retrieval.search)

Model = Annotated[str | None, typer.Option(help="Folder of the model, or its hub id (MODEL).")]
Host = Annotated[str | None, typer.Option(help="Address to listen on (HOST).")]
Port = Annotated[int | None, typer.Option(help="Port to listen on (PORT).")]
ConfigPath = Annotated[str | None, typer.Option(help="Path of a config.yml (CONFIG).")]


@app.command()
def serve(model: Model = None, host: Host = None, port: Port = None, config: ConfigPath = None) -> None:
    """Load the model and serve it until told to stop."""
    settings = _load_settings(model=model, host=host, port=port, config=config)
    try:
        verdicts.refuse_to_start(settings)
    except KodifyError as error:
        terminal.refuse(error)
        raise typer.Exit(1) from None
    logs.configure(settings)
    for notice in verdicts.notices(settings):
        logging.getLogger("kodify").warning(notice)

    from kodify.server import end_children
    from kodify.server import serve as serve_app

    reread = partial(Settings.load, model=model, host=host, port=port, config=config)
    code = _run(serve_app(settings, build_engines(settings), reread))
    end_children()
    logging.shutdown()
    # All is shut down; the interpreter's own end would print triton's reports of leaked functions, and wait for a
    # load that was broken off. Everything printed so far has been flushed.
    os._exit(code)


@app.command()
def check(
    model: Model = None,
    host: Host = None,
    port: Port = None,
    config: ConfigPath = None,
    capacity: Annotated[bool, typer.Option("--capacity", help="Tell what the models need of a GPU instead.")] = False,
    gpu_memory: Annotated[float | None, typer.Option(help="--capacity: a GPU's memory, GiB. Unset: asked.")] = None,
    gpu_others: Annotated[float | None, typer.Option(help="--capacity: GiB that other programs hold at most.")] = None,
    context: Annotated[
        int | None, typer.Option(help="--capacity: a prompt's tokens. Unset: the longest.", min=1)
    ] = None,
    answer: Annotated[int, typer.Option(help="--capacity: an answer's tokens, beside --context.", min=0)] = 512,
) -> None:
    """Print the effective settings, secrets masked, and whether Kodify would start with them."""
    settings = _load_settings(model=model, host=host, port=port, config=config)
    if capacity:
        raise typer.Exit(_tell_capacity(settings, gpu_memory, gpu_others, context, answer))
    for name, value in settings.shown().items():
        typer.echo(f"{name}={value}")
    for notice in verdicts.notices(settings):
        typer.echo(f"note: {notice}")
    found = list(verdicts.problems(settings))
    if not found:
        found = _argument_problems(settings)
    for problem in found:
        typer.echo(f"problem: {problem}", err=True)
    typer.echo("Kodify would not start." if found else "Kodify would start.")
    raise typer.Exit(1 if found else 0)


def _tell_capacity(
    settings: Settings, gpu_gib: float | None, others_gib: float | None, context: int | None, answer: int
) -> int:
    from kodify import cli_capacity

    try:
        lines, fits = cli_capacity.report(settings, gpu_gib, others_gib, context, answer)
    except KodifyError as error:
        terminal.refuse(error)
        return 1
    typer.echo("\n".join(lines))
    return 0 if fits else 1


@app.command()
def migrate() -> None:
    """Make or bring up to date the tables of users, of the journal and of chats, and their databases."""
    from kodify.auth import build_users
    from kodify.chats import build as build_chats
    from kodify.journal import build_writer
    from kodify.metrics import Metrics

    settings = _load_settings()
    done = []

    async def work() -> None:
        for problem in (*verdicts.authorisation(settings), *verdicts.journal(settings), *verdicts.chats(settings)):
            raise ConfigError(problem)
        if settings.mtsai_auth:
            users = build_users(settings, Metrics(), migrate=True)
            try:
                await users.open()
                done.append("users")
            finally:
                await users.database.close()
        if settings.logs:
            writer = build_writer(settings, migrate=True)
            try:
                await writer.prepare()
                done.append("journal")
            finally:
                await writer.stop()
        if settings.chats_db_url is not None or settings.db_url is not None:
            await build_chats(settings, migrate=True).store.prepare()
            done.append("chats")
        if not done:
            raise ConfigError(
                "There is nothing to migrate: set MTSAI_AUTH=true and DB_URL, or LOGS=True and LOGS_DB_…."
            )

    try:
        asyncio.run(work())
    except KodifyError as error:
        terminal.refuse(error)
        raise typer.Exit(1) from None
    typer.echo(f"up to date: {', '.join(done)}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _load_settings(**given: object) -> Settings:
    try:
        return Settings.load(**given)
    except KodifyError as error:
        terminal.refuse(error)
        raise typer.Exit(1) from None


def _argument_problems(settings: Settings) -> list[str]:
    from kodify.engine.vllm_arguments import engine_arguments, prepare_environment

    prepare_environment(settings)
    found = []
    for entry, own in settings.models:
        try:
            engine_arguments(own, entry.adapters if entry is not None else None)
        except KodifyError as error:
            found.append(error.message)
    return found


def _run(main: Coroutine[Any, Any, int]) -> int:
    """On uvloop where it is installed (it is, outside Windows)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return int(uvloop.run(main))


def main() -> None:
    sys.exit(app())


if __name__ == "__main__":
    main()
