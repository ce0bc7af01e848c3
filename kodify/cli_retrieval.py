"""`kodify index`, `kodify search`, `kodify collections`: here, or in a running Kodify (`--server`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from kodify import logs, terminal
from kodify.client.painter import harmless
from kodify.configured import build_engines
from kodify.engines import Engines, Served
from kodify.errors import ConfigError, KodifyError, NotFoundError
from kodify.retrieval import build, syncing
from kodify.retrieval.base import Held, Origin, Where
from kodify.retrieval.checkouts import Checkout, checkout_of
from kodify.retrieval.library import Library, Put, check_name
from kodify.retrieval.remote import RemoteCollection
from kodify.settings import Settings

app = typer.Typer(help="The collections that are here.", no_args_is_help=True)

Result = TypeVar("Result")
Collection = Annotated[str, typer.Option("--collection", "-c", help="The collection's name.")]
Server = Annotated[
    str | None, typer.Option(envvar="KODIFY_SERVER", help="Address of a running Kodify that has the collections.")
]
Token = Annotated[str | None, typer.Option(envvar="KODIFY_TOKEN", help="Your token there.", show_envvar=True)]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
SHOWN_SKIPPED = 20
_STEERING = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def index(
    path: Annotated[Path, typer.Argument(exists=True, help="A folder, a git checkout, or one file.")],
    collection: Collection,
    under: Annotated[str, typer.Option(help="The folder in the collection that this is the content of.")] = "",
    source: Annotated[
        str | None, typer.Option(help="What this folder is called, where its path is another one each time.")
    ] = None,
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Put documents and code into a collection: what is new or changed; what is gone is removed."""
    root = path.resolve()

    async def work() -> syncing.Report:
        checkout = await asyncio.to_thread(checkout_of, root)
        async with _target(collection, server, token) as target:
            with _Bar(quiet=as_json) as bar:
                return await syncing.sync(root, checkout, target, under=under, source=source, told=bar.tell)

    report = _run(work)
    if as_json:
        typer.echo(_json(asdict(report)))
    else:
        _tell(report, collection)
    if report.failed:
        raise typer.Exit(1)


def search(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    collection: Collection,
    k: Annotated[int, typer.Option(min=1, max=50, help="At most so many passages.")] = 5,
    threshold: Annotated[float | None, typer.Option(min=0, max=0.999, help="Only what is nearer, 0 to 1.")] = None,
    path: Annotated[str | None, typer.Option(help="Only in this file or folder.")] = None,
    language: Annotated[str | None, typer.Option(help="Only in this language.")] = None,
    by: Annotated[str, typer.Option(help="both, meaning, or words: without the model.")] = "both",
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Find passages in a collection."""
    if by not in ("both", "meaning", "words"):
        raise typer.BadParameter("both, meaning or words", param_hint="--by")

    async def work() -> list[dict[str, Any]]:
        if server is not None:
            asked = {"query": query, "k": k, "threshold": threshold, "path": path, "language": language, "by": by}
            async with RemoteCollection(server, token, collection) as remote:
                return await remote.search({name: value for name, value in asked.items() if value is not None})
        async with Here() as here:
            await here.library.about(collection)  # before the model is loaded
            if by != "words":
                await here.engine()
            found = await here.library.search(
                [collection], query, k=k, threshold=threshold, where=Where(path, language), by=by
            )
            return [{**passage.source(), "text": passage.text} for passage in found]

    for one in _run(work):
        if as_json:
            typer.echo(_json(one))
            continue
        head = f"{one['path']}:{one['start_line']}-{one['end_line']}  {one['title']}"
        typer.secho(_line(head), bold=True)
        typer.echo("\n".join("    " + line for line in harmless(one["text"]).split("\n")[:12]) + "\n")


@app.command("list")
def list_all() -> None:
    """Print the collections, how much they have, and what they were made for."""

    async def work() -> list[tuple[str, ...]]:
        async with Here() as here:
            rows: list[tuple[str, ...]] = []
            for name in await here.library.names():
                about = await here.library.about(name)
                count = f"{await here.library.count(name):,}"
                told = (name, count, about.model, about.repository or "–", (about.commit or "–")[:12])
                rows.append(tuple(map(_line, told)))
            return rows

    heads = ("COLLECTION", "PIECES", "MODEL", "REPOSITORY", "COMMIT")
    typer.echo("\n".join(terminal.table([heads, *_run(work)], right={1})))


@app.command()
def delete(name: Annotated[str, typer.Argument(help="The collection.")]) -> None:
    """Delete a collection with all that is in it."""

    async def work() -> None:
        async with Here() as here:
            await here.library.drop(name)

    _run(work)


class Here:
    """The collections of this environment. Their model is loaded when something is to be embedded."""

    def __init__(self) -> None:
        self.settings = Settings.load()
        logs.configure(self.settings.model_copy(update={"log_level": "warning"}))
        every = build_engines(self.settings)
        self._engines = Engines([served for served in every.all if served.task == "embed"])
        self._started: set[int] = set()
        self._starting = asyncio.Lock()
        self.library: Library = build(self.settings, self._engines)

    async def __aenter__(self) -> Here:
        return self

    async def __aexit__(self, *failed: object) -> None:
        try:
            await self.library.close()
        finally:
            if self._started:
                await self._engines.stop()

    async def engine(self) -> None:
        """Raises ConfigError where no model embeds."""
        async with self._starting:
            if self._started:
                return
            wanted = [served for served in self._engines.all if self._is_wanted(served)][:1]
            if not wanted:
                raise ConfigError("No model embeds: name one in config.yml, with task: embed.")
            self._engines.all = wanted
            with terminal.Progress(f"loading {wanted[0].label}"):
                self._started.add(id(wanted[0]))
                await self._engines.start()

    def _is_wanted(self, served: Served) -> bool:
        name = self.settings.file.retrieval.model
        return name is None or served.label == name


class _HereTarget:
    def __init__(self, here: Here, name: str) -> None:
        self._here = here
        self._name = name

    async def make_sure(self) -> None:
        try:
            await self._here.library.about(self._name)
        except NotFoundError:
            check_name(self._name)
            await self._here.engine()
            await self._here.library.make(self._name)

    async def held(self) -> dict[str, Held]:
        return await self._here.library.held(self._name)

    async def put(self, path: str, data: bytes, origin: Origin, source: str) -> Put:
        await self._here.engine()
        return await self._here.library.put(self._name, path, data, origin, source)

    async def remove(self, path: str) -> None:
        await self._here.library.remove(self._name, path)

    async def note(self, checkout: Checkout) -> None:
        await self._here.library.note(self._name, checkout.repository, checkout.commit)


@contextlib.asynccontextmanager
async def _target(name: str, server: str | None, token: str | None) -> AsyncIterator[syncing.Target]:
    if server is not None:
        async with RemoteCollection(server, token, name) as remote:
            await remote.make_sure()
            yield remote
        return
    async with Here() as here:
        target = _HereTarget(here, name)
        await target.make_sure()
        yield target


class _Bar:
    """How far it is: a bar on a terminal, a line now and then in a log."""

    EVERY = 200  # documents

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Any = None
        self._task: Any = None

    def __enter__(self) -> _Bar:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._live = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._live.add_task("", total=None)
            self._live.start()
        return self

    def __exit__(self, *failed: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, done: int, every: int, path: str) -> None:
        if self._live is not None:
            self._live.update(
                self._task, completed=done, total=every, description=_line(path[-60:]).replace("[", "\\[")
            )
        elif not self._quiet and done and done % self.EVERY == 0:
            print(f"kodify: {done} of {every}", file=sys.stderr, flush=True)


def _tell(report: syncing.Report, collection: str) -> None:
    for path, reason in list(report.skipped.items())[:SHOWN_SKIPPED]:
        typer.echo(_line(f"skipped  {path}: {reason}"), err=True)
    if len(report.skipped) > SHOWN_SKIPPED:
        typer.echo(f"skipped  … and {len(report.skipped) - SHOWN_SKIPPED} more", err=True)
    for path, reason in report.failed.items():
        typer.echo(_line(f"failed   {path}: {reason}"), err=True)
    typer.echo(
        f"{collection}: {report.indexed} indexed ({report.pieces} pieces), {report.unchanged} unchanged, "
        f"{report.removed} removed, {len(report.skipped)} skipped, {len(report.failed)} failed"
        + (f"; {report.others} from elsewhere kept" if report.others else "")
    )


def _line(text: str) -> str:
    """Documents and their names don't steer the terminal."""
    return harmless(text).replace("\n", "␊")


def _json(value: Any) -> str:
    """In strings alone are characters that a terminal would obey: JSON has its own way to write them."""
    told = json.dumps(value, ensure_ascii=False)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", told)


def _run(work: Callable[[], Awaitable[Result]]) -> Result:
    async def main() -> Result:
        return await work()

    try:
        return asyncio.run(main())
    except KodifyError as error:
        terminal.refuse(error)
        raise typer.Exit(1) from None
