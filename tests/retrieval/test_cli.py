"""`kodify index` and `kodify search` against a running Kodify: what they print is text, whatever documents say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kodify.cli import app
from tests.retrieval.conftest import People, Start, fill

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
    token = clients["admin"].headers["authorization"].removeprefix("Bearer ")
    more = ("--json",) if as_json else ()
    told = run("index", str(root), "-c", "open", "--server", served.url, "--token", token, *more)
    assert is_harmless(told)
    assert "its name has control characters" in told
    assert "1 indexed" in told or json.loads(told)["indexed"] == 1


def test_a_folder_whose_path_changes_has_a_name(people: People, tmp_path: Path) -> None:
    served, clients = people
    token = clients["admin"].headers["authorization"].removeprefix("Bearer ")
    for turn in ("one", "two"):
        (tmp_path / turn).mkdir()
        (tmp_path / turn / f"{turn}.md").write_text("# Wiki")
        asked = ("index", str(tmp_path / turn), "-c", "open", "--server", served.url, "--token", token)
        told = run(*asked, "--source", "wiki", "--under", "wiki")
    assert told == "open: 1 indexed (1 pieces), 0 unchanged, 1 removed, 0 skipped, 0 failed\n"
    (tmp_path / "two" / "two.md").rename(tmp_path / "two" / "three.md")
    assert run(*asked, "--under", "wiki").endswith("0 failed; 1 from elsewhere kept\n")
