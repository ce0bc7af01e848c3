"""`kodify index`, `search` and `collections`, here and against a running Kodify: what they print is text, whatever
documents say, and what can't be done is one sentence, told before a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kodify import cli_retrieval, logs
from kodify.cli import app
from kodify.engine.scripted import WordEmbedder
from kodify.engines import Engines, Served
from kodify.retrieval.store import Store
from kodify.settings import Settings
from tests.retrieval.conftest import People, Start, fill, token_of

STEERING = "\x1b]0;owned\x07\x1b[2Jpears \x9b31m\r\u202etxt"


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    return done.stdout + done.stderr


def is_harmless(text: str) -> bool:
    return not any(char in text for char in "\x1b\x07\x9b\r\u202e\x7f")


def test_documents_do_not_steer_the_terminal(start: Start) -> None:
    served = start()
    fill(served, "notes", {f"a{STEERING}\nb.md": f"# {STEERING}\n\n{STEERING} and more\n"})
    asked = ("search", "pears", "-c", "notes", "--server", served.url)
    told = run(*asked)
    assert "pears" in told
    assert is_harmless(told)
    told = run(*asked, "--json")
    assert is_harmless(told)
    (found,) = map(json.loads, told.splitlines())
    assert found["path"] == f"a{STEERING}\nb.md"


@pytest.mark.parametrize("as_json", [False, True])
def test_names_do_not_steer_the_terminal(people: People, tmp_path: Path, as_json: bool) -> None:
    served, clients = people
    root = tmp_path / "root"
    root.mkdir()
    for name in (f"{STEERING}.md", "\u202e.zip", "b.md"):
        (root / name).write_text("text")
    token = token_of(clients["admin"])
    more = ("--json",) if as_json else ()
    told = run("index", str(root), "-c", "open", "--server", served.url, "--token", token, *more)
    assert is_harmless(told)
    assert "its name has control characters" in told
    assert "1 indexed" in told or json.loads(told)["indexed"] == 1


def test_a_folder_whose_path_changes_has_a_name(people: People, tmp_path: Path) -> None:
    served, clients = people
    token = token_of(clients["admin"])
    for turn in ("one", "two"):
        (tmp_path / turn).mkdir()
        (tmp_path / turn / f"{turn}.md").write_text("# Wiki")
        asked = ("index", str(tmp_path / turn), "-c", "open", "--server", served.url, "--token", token)
        told = run(*asked, "--source", "wiki", "--under", "wiki")
    assert told == "open: 1 indexed (1 pieces), 0 unchanged, 1 removed, 0 skipped, 0 failed\n"
    (tmp_path / "two" / "two.md").rename(tmp_path / "two" / "three.md")
    assert run(*asked, "--under", "wiki").endswith("0 failed; 1 from elsewhere kept\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountedEmbedder:
    """The collections of this environment, with a model that counts how often it is loaded."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(field.alias or "", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_PATH", str(tmp_path / "data"))
    monkeypatch.setattr(logs, "configure", lambda settings: None)
    embedder = CountedEmbedder()
    monkeypatch.setattr(
        cli_retrieval, "build_engines", lambda settings: Engines([Served(embedder, "words", task="embed")])
    )
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.md").write_text("# Fruit\n\nPears and plums.")
    (tmp_path / "root" / "b.md").write_text("# Metal\n\nIron.")
    return embedder


class CountedEmbedder(WordEmbedder):
    loaded = 0

    async def start(self) -> None:
        self.loaded += 1
        await super().start()


def test_a_folder_is_indexed_searched_listed_and_deleted_here(here: CountedEmbedder) -> None:
    told = run("index", "root", "-c", "notes")
    assert "notes: 2 indexed (2 pieces), 0 unchanged, 0 removed, 0 skipped, 0 failed\n" in told
    assert here.loaded == 1
    assert json.loads(run("index", "root", "-c", "notes", "--json"))["unchanged"] == 2
    told = run("search", "pears", "-c", "notes", "--by", "words")
    assert told.startswith("a.md:1-3  Fruit\n    # Fruit\n")
    assert "Metal" not in told
    run("collections", "list")
    assert here.loaded == 1  # nothing of this needs it
    assert "a.md:1-3" in run("search", "pears", "-c", "notes")
    assert here.loaded == 2
    assert run("collections", "list").splitlines()[1].split()[:3] == ["notes", "2", "scripted-embedder"]
    assert run("collections", "delete", "notes") == ""
    assert "notes" not in run("collections", "list")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("search", "x", "-c", "none"), "There is no collection none."),
        (("search", "x", "-c", "none", "--by", "words"), "There is no collection none."),
        (("collections", "delete", "none"), "There is no collection none."),
        (("index", "root", "-c", "a/b"), "A collection's name has letters, digits, - _ and . alone."),
        (("index", "root", "-c", "a", "--server", "http://127.0.0.1:9"), "http://127.0.0.1:9 can't be reached"),
        (("search", "x", "-c", "a", "--server", "http://127.0.0.1:9"), "http://127.0.0.1:9 can't be reached"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else None,
)
def test_what_can_not_be_done_is_told_at_once(here: CountedEmbedder, arguments: tuple[str, ...], sentence: str) -> None:
    told = run(*arguments, code=1)
    assert told.startswith(f"kodify: {sentence}")
    assert len(told.splitlines()) == 1
    assert here.loaded == 0


@pytest.mark.usefixtures("here")
def test_without_a_model_that_embeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_retrieval, "build_engines", lambda settings: Engines([]))
    assert run("index", "root", "-c", "notes", code=1).startswith("kodify: No model embeds: name one in config.yml")


@pytest.mark.usefixtures("here")
def test_while_another_has_the_collections_open(tmp_path: Path) -> None:
    run("index", "root", "-c", "notes")
    other = Store(None, None, tmp_path / "data" / "qdrant")
    other.names()
    try:
        for arguments in (("index", "root", "-c", "notes"), ("search", "x", "-c", "notes"), ("collections", "list")):
            told = run(*arguments, code=1)
            assert told.startswith("kodify: Another process has the collections in ")
            assert "--server" in told
    finally:
        other.close()
    assert "2 unchanged" in run("index", "root", "-c", "notes")


def test_with_a_wrong_token(people: People, tmp_path: Path) -> None:
    served, _ = people
    (tmp_path / "root").mkdir()
    more = ("--server", served.url, "--token", "kdf_wrong")
    for arguments in (("index", str(tmp_path / "root"), "-c", "open"), ("search", "x", "-c", "open")):
        told = run(*arguments, *more, code=1)
        assert told.startswith("kodify: ")
        assert len(told.splitlines()) == 1
