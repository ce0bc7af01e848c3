"""The command line of users: `kodify users …`, for the first administrator and for scripts."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from kodify import terminal, verdicts
from kodify.auth import Administration, UserFields, administration, build_users
from kodify.auth.administration import Actor, Listed, normal
from kodify.auth.base import EMAIL
from kodify.errors import ConfigError, KodifyError
from kodify.metrics import Metrics
from kodify.settings import Settings

app = typer.Typer(help="Users, their tokens, and what administrators did.", no_args_is_help=True)

PAGE = 500
Result = TypeVar("Result")
Email = Annotated[str, typer.Option(help="The user's e-mail.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    email: Email,
    days: Annotated[int, typer.Option(min=0, max=36_500, help="How many days the user may use Kodify.")],
    privileged: Annotated[bool, typer.Option("--privileged", help="An administrator.")] = False,
    password_stdin: Annotated[bool, typer.Option(help="Read a password from standard input.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a user and print the token, which is shown this once."""
    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    if password == "":
        _refuse("The password on standard input is empty.")
    if not re.match(EMAIL, normal(email)):
        _refuse(f"{email} is no e-mail.")
    user, token = _run(lambda users: users.create(_actor(), email, password, days, privileged=privileged))
    typer.echo(json.dumps({**_shown(user), "token": token}) if as_json else token)


@app.command("list")
def list_users(
    after: Annotated[int, typer.Option(help="Only users made after the one of this id.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print users in the order in which they were made; with --json a line of JSON for each."""
    found = _run(lambda users: _pages(users, after, limit))
    if as_json:
        for listed in found:
            typer.echo(json.dumps(_listed(listed)))
        return
    rows: list[tuple[str, ...]] = [("ID", "E-MAIL", "UNTIL", "STATE", "TOKEN")]
    for listed in found:
        user = listed.user
        state = ", ".join(filter(None, ("administrator" if user.privileged else "", _state(user)))) or "user"
        rows.append((str(user.id), user.email, user.expires_on.isoformat(), state, listed.token or "–"))
    _table(rows)


@app.command()
def show(email: Email, as_json: AsJson = False) -> None:
    """Print one user and their tokens."""

    async def both(users: Administration) -> tuple[Listed, list[dict[str, Any]]]:
        listed = await users.show(email)
        return listed, [_token(token) for token in await users.tokens_of(listed.user.id)]

    listed, own = _run(both)
    if as_json:
        return typer.echo(json.dumps({**_shown(listed.user), "tokens": own}))
    for name, value in _shown(listed.user).items():
        typer.echo(f"{name}: {value}")
    _table(
        [("ID", "TOKEN", "MADE", "WORKS UNTIL", "LAST USED")] + [tuple(_or_dash(v) for v in t.values()) for t in own]
    )


@app.command()
def disable(email: Email) -> None:
    """Let none of the user's tokens work."""
    found = _run(lambda users: users.disable_by_email(_actor(), email))
    _must_exist(bool(found), email)


@app.command()
def enable(email: Email) -> None:
    """Let a disabled user's tokens work again."""
    _run(lambda users: users.enable(_actor(), email))


@app.command()
def delete(email: Email) -> None:
    """Delete the user with all tokens."""
    count = _run(lambda users: users.delete_by_email(_actor(), email))
    _must_exist(bool(count), email)


@app.command()
def token(email: Email) -> None:
    """Make another token and print it, which is shown this once."""
    typer.echo(_run(lambda users: users.new_token(_actor(), email)))


@app.command()
def audit(
    before: Annotated[int | None, typer.Option(help="Only acts before the one of this id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Print what administrators did, the newest first."""
    acts = _run(lambda users: users.acts(before, limit))
    if as_json:
        for act in acts:
            typer.echo(json.dumps({**act.model_dump(exclude={"at"}), "at": _moment(act.at)}))
        return
    rows: list[tuple[str, ...]] = [("ID", "WHEN", "WHO", "FROM", "ACT", "WHOM", "DETAIL")]
    for act in acts:
        values = (act.id, _moment(act.at), act.actor, act.address, act.act, act.target, act.detail)
        rows.append(tuple(_or_dash(value) for value in values))
    _table(rows)


async def _pages(users: Administration, after: int, limit: int | None) -> list[Listed]:
    found: list[Listed] = []
    while limit is None or len(found) < limit:
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        page = await users.page(found[-1].user.id if found else after, size)
        found += page
        if len(page) < size:
            break
    return found


def _run(work: Callable[[Administration], Awaitable[Result]]) -> Result:
    """On the users' database of this environment; an error is one sentence and exit code 1."""

    async def main() -> Result:
        settings = Settings.load()
        if not settings.mtsai_auth or settings.db_url is None:
            raise ConfigError("There are no users: set MTSAI_AUTH=true, AUTH_TYPE=DB and DB_URL.")
        for problem in verdicts.authorisation(settings):
            raise ConfigError(problem)
        auth = build_users(settings, Metrics())
        try:
            await auth.open()
            users = administration(auth, settings)
            assert users is not None
            return await work(users)
        finally:
            await auth.database.close()

    try:
        return asyncio.run(main())
    except KodifyError as error:
        terminal.refuse(error)
        raise typer.Exit(1) from None


def _actor() -> Actor:
    return Actor(f"cli:{getpass.getuser()}")


def _must_exist(found: bool, email: str) -> None:
    if not found:
        _refuse(f"There is no user with email {email}.")


def _refuse(sentence: str) -> NoReturn:
    terminal.refuse(KodifyError(sentence))
    raise typer.Exit(1)


def _shown(user: UserFields) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "expiration_date": user.expires_on.isoformat(),
        "disabled": user.disabled,
        "privileged": user.privileged,
    }


def _listed(listed: Listed) -> dict[str, Any]:
    return {**_shown(listed.user), "token": listed.token}


def _token(token: Any) -> dict[str, Any]:
    return {
        "id": token.id,
        "token": f"{token.prefix}…",
        "created_at": _moment(token.created_at),
        "expires_at": _moment(token.expires_at),
        "last_used_at": _moment(token.last_used_at),
    }


def _state(user: UserFields) -> str:
    return "disabled" if user.disabled else ""


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _or_dash(value: object) -> str:
    return "–" if value is None else str(value)


def _table(rows: list[tuple[str, ...]]) -> None:
    typer.echo("\n".join(terminal.table(rows)))
