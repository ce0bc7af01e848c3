"""`kodify users` and `kodify migrate`: the token alone on standard output, one sentence for what is wrong."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kodify.auth import tokens
from kodify.cli import app
from kodify.settings import Settings


class Shell:
    """The command line with the variables of one company."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables

    def run(self, *words: str, given: str | None = None) -> Result:
        return CliRunner().invoke(app, words, env=self.variables, input=given)

    def out(self, *words: str, given: str | None = None) -> str:
        result = self.run(*words, given=given)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
def shell(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(field.alias or "", raising=False)
    monkeypatch.chdir(tmp_path)
    table = f"c_{uuid.uuid4().hex[:12]}.people"
    yield Shell({"MTSAI_AUTH": "true", "AUTH_TYPE": "DB", "DB_URL": postgres, "USERS_TABLE": table})


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_create_prints_the_token_and_nothing_else(shell: Shell) -> None:
    token = shell.out("users", "create", "--email", "Root@Example.com", "--days", "30", "--privileged")
    assert tokens.is_well_formed(token.strip())
    assert token == token.strip() + "\n"
    made = json.loads(
        shell.out("users", "create", "--email", "a@b.ru", "--days", "1", "--password-stdin", "--json", given="pass\n")
    )
    assert tokens.is_well_formed(made.pop("token"))
    assert (made["email"], made["privileged"]) == ("a@b.ru", False)


def test_list_pages_through_everybody(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kodify.cli_users.PAGE", 2)
    for number in range(5):
        shell.out("users", "create", "--email", f"u{number}@b.ru", "--days", "1")
    everybody = lines(shell.out("users", "list", "--json"))
    assert [user["email"] for user in everybody] == [f"u{number}@b.ru" for number in range(5)]
    some = lines(shell.out("users", "list", "--json", "--after", str(everybody[1]["id"]), "--limit", "2"))
    assert [user["email"] for user in some] == ["u2@b.ru", "u3@b.ru"]
    table = shell.out("users", "list").splitlines()
    assert table[0].split() == ["ID", "E-MAIL", "UNTIL", "STATE", "TOKEN"]
    assert len(table) == 6


def test_a_users_life(shell: Shell) -> None:
    shell.out("users", "create", "--email", "a@b.ru", "--days", "1")
    another = shell.out("users", "token", "--email", "A@b.ru").strip()
    shown = json.loads(shell.out("users", "show", "--email", "a@b.ru", "--json"))
    assert shown["tokens"][0]["token"] == another[:12] + "…"
    assert len(shown["tokens"]) == 2
    assert shell.out("users", "disable", "--email", "a@b.ru") == ""
    assert json.loads(shell.out("users", "show", "--email", "a@b.ru", "--json"))["disabled"] is True
    assert shell.out("users", "enable", "--email", "a@b.ru") == ""
    assert "disabled: False" in shell.out("users", "show", "--email", "a@b.ru")
    assert shell.out("users", "delete", "--email", "a@b.ru") == ""
    acts = lines(shell.out("users", "audit", "--json"))
    assert [act["act"] for act in acts] == ["delete", "enable", "disable", "token", "create"]
    assert acts[0]["actor"].startswith("cli:")
    assert shell.out("users", "audit", "--limit", "2").count("\n") == 3


@pytest.mark.parametrize("command", ["show", "disable", "enable", "delete", "token"])
def test_nobody_is_one_sentence(shell: Shell, command: str) -> None:
    result = shell.run("users", command, "--email", "nobody@b.ru")
    assert result.exit_code == 1
    assert result.stderr == "kodify: There is no user with email nobody@b.ru.\n"
    assert result.stdout == ""


def test_without_users_it_says_what_to_set(shell: Shell) -> None:
    shell.variables["MTSAI_AUTH"] = "false"
    result = shell.run("users", "list")
    assert result.exit_code == 1
    assert "set MTSAI_AUTH=true, AUTH_TYPE=DB and DB_URL" in result.stderr


def test_migrate_may_be_run_again(shell: Shell) -> None:
    assert shell.out("migrate") == "up to date: users, chats\n"
    assert shell.out("migrate") == "up to date: users, chats\n"
    assert os.environ.get("USERS_TABLE") is None
