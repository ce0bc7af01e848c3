"""The command line of code actions: `kodify explain`, `document`, `fix`, `tests`, `review`, `commit-message`."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any, NoReturn

import typer

from kodify.actions import fences
from kodify.client import files
from kodify.client.asking import Answered, RefusedError, Server
from kodify.client.painter import Painter, harmless, print_diff
from kodify.errors import ConfigError
from kodify.settings import ClientSettings

app = typer.Typer()

USELESS = 3  # the exit code: the model's answer is of no use, or the file is another by now

File = Annotated[str, typer.Argument(metavar="FILE[:A-B]", help="A file, or its lines A to B; - is standard input.")]
Address = Annotated[str | None, typer.Option("--server", help="Kodify's address (KODIFY_SERVER).")]
Token = Annotated[
    str | None, typer.Option(help="Your token (KODIFY_TOKEN, which other users of this machine can't see).")
]
Model = Annotated[str | None, typer.Option(help="One of the server's models. Unset: its first.")]
Language = Annotated[str | None, typer.Option(help="The code's language. Unset: the file's name tells.")]
Instructions = Annotated[str | None, typer.Option("--instructions", "-i", help="What you want besides, in your words.")]
Apply = Annotated[bool, typer.Option("--apply", help="Write the file, if it is still the one that was read.")]


@app.command()
def explain(
    file: File, instructions: Instructions = None, language: Language = None, model: Model = None,
    server: Address = None, token: Token = None,
) -> None:  # fmt: skip
    """Say what code does and how."""
    _tell("explain", _body(file, instructions, language, model), _server(server, token))


@app.command()
def review(
    file: File, instructions: Instructions = None, language: Language = None, model: Model = None,
    server: Address = None, token: Token = None,
) -> None:  # fmt: skip
    """Say what is wrong with code, or with a diff on standard input."""
    _tell("review", _body(file, instructions, language, model), _server(server, token))


@app.command()
def tests(
    file: File, instructions: Instructions = None, language: Language = None, model: Model = None,
    server: Address = None, token: Token = None,
) -> None:  # fmt: skip
    """Write unit tests of code; into a pipe or a file they come alone."""
    body, asked = _body(file, instructions, language, model), _server(server, token)
    if sys.stdout.isatty():
        return _tell("tests", body, asked)
    answered = _act("tests", body, asked, Painter(sys.stderr, hides_code=True))
    if answered.complaint is not None:
        _say_useless(answered)
    sys.stdout.write(answered.told["code"])


@app.command()
def document(
    file: File, apply: Apply = False, instructions: Instructions = None, language: Language = None,
    model: Model = None, server: Address = None, token: Token = None,
) -> None:  # fmt: skip
    """Add documentation to code: print the diff, or write the file."""
    _edit("document", file, instructions, language, model, _server(server, token), apply=apply)


@app.command()
def fix(
    file: File, apply: Apply = False, instructions: Instructions = None, language: Language = None,
    model: Model = None, server: Address = None, token: Token = None,
) -> None:  # fmt: skip
    """Find and correct errors in code: print the diff, or write the file."""
    _edit("fix", file, instructions, language, model, _server(server, token), apply=apply)


@app.command("commit-message")
def commit_message(
    file: Annotated[str | None, typer.Argument(metavar="[-]", help="- reads a diff from standard input.")] = None,
    instructions: Instructions = None, model: Model = None, server: Address = None, token: Token = None,
) -> None:  # fmt: skip
    """Write the message of what is staged, `git diff --staged`."""
    diff = _staged() if file is None else _read(file).text.replace("\0", "")
    if not diff.strip():
        _refuse("There is nothing staged: `git add` first." if file is None else "There is no diff.")
    body = _given({"code": diff, "language": "diff", "instructions": instructions, "model": model})
    answered = _act("commit-message", body, _server(server, token), None)
    answer = fences.read(answered.text)
    whole = "\n".join(answer.blocks[0].lines) if len(answer.blocks) == 1 and not answer.prose else answered.text
    if not whole.strip():
        _refuse("The model said nothing.", USELESS)
    typer.echo(harmless(whole.strip()) if sys.stdout.isatty() else whole.strip())


def _tell(name: str, body: dict[str, Any], server: Server) -> None:
    answered = _act(name, body, server, Painter(sys.stdout))
    if answered.complaint is not None:
        _refuse(answered.complaint, USELESS)
    if answered.told.get("finish_reason") != "stop":
        _refuse(f"The answer was ended before its end ({answered.told.get('finish_reason')}).", USELESS)


def _edit(
    name: str, reference: str, instructions: str | None, language: str | None, model: str | None, server: Server, *,
    apply: bool,
) -> None:  # fmt: skip
    source = _read(reference)
    body = _given(_fields(source, instructions, language, model))
    answered = _act(name, body, server, Painter(sys.stderr, hides_code=True))
    if answered.is_unchanged:
        return typer.echo(f"kodify: {answered.complaint}", err=True)
    diff = answered.told.get("diff")
    if answered.complaint is not None or not diff:
        _say_useless(answered)
    print_diff(diff, sys.stdout)
    if apply:
        try:
            source.apply(diff)
        except RefusedError as error:
            _refuse(str(error), USELESS)
        typer.echo(f"kodify: {source.path} is written.", err=True)


def _act(name: str, body: dict[str, Any], server: Server, painter: Painter | None) -> Answered:
    try:
        return server.act(name, body, painter.feed if painter is not None else lambda text: None)
    except RefusedError as error:
        if painter is not None:
            painter.close()
        _refuse(str(error))
    finally:
        if painter is not None:
            painter.close()


def _say_useless(answered: Answered) -> NoReturn:
    """What the model said is not lost."""
    painter = Painter(sys.stderr)
    painter.feed(answered.text + "\n")
    painter.close()
    _refuse(answered.complaint or "The server has no diff for it.", USELESS)


def _body(reference: str, instructions: str | None, language: str | None, model: str | None) -> dict[str, Any]:
    return _given(_fields(_read(reference), instructions, language, model))


def _fields(source: files.Source, instructions: str | None, language: str | None, model: str | None) -> dict[str, Any]:
    selection = source.selection
    return {
        "code": source.text,
        "path": source.shown,
        "selection": None if selection is None else {"start_line": selection[0], "end_line": selection[1]},
        "instructions": instructions,
        "language": language,
        "model": model,
    }


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _read(reference: str) -> files.Source:
    try:
        return files.read(reference)
    except RefusedError as error:
        _refuse(str(error))


def _staged() -> str:
    command = ["git", "diff", "--staged", "--no-color", "--no-ext-diff"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        _refuse(f"git can't be run: {error.strerror}.")
    if done.returncode:
        _refuse(f"git says: {done.stderr.decode(errors='replace').strip().splitlines()[0]}")
    return done.stdout.decode(errors="replace").replace("\0", "")


def _server(address: str | None, token: str | None) -> Server:
    try:
        settings = ClientSettings.load()
    except ConfigError as error:
        _refuse(error.message)
    own = settings.kodify_token.get_secret_value() if settings.kodify_token is not None else None
    return Server(address or settings.kodify_server, token or own)


def _refuse(sentence: str, code: int = 1) -> NoReturn:
    """A complaint quotes the model, and a server may say anything."""
    typer.echo(f"kodify: {harmless(sentence)}", err=True)
    raise typer.Exit(code)
