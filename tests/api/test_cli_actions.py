"""`kodify fix` and its like against a server, over a real socket."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from kodify.cli import app
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.errors import UnavailableError
from kodify.settings import ClientSettings
from tests.api.test_actions import CODE, FIXED
from tests.conftest import Serve, Served, eventually, free_port

NEW = CODE.replace("3", "2")
DIFF = "--- a/twice.py\n+++ b/twice.py\n@@ -1,2 +1,2 @@\n def twice(n):\n-    return n * 3\n+    return n * 2\n"
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for field in ClientSettings.model_fields.values():
        monkeypatch.delenv(field.alias or "", raising=False)
    (tmp_path / "twice.py").write_text(CODE)
    return tmp_path


def run(served: Served | None, *words: str, given: str | None = None, **variables: str) -> Result:
    environment = {"KODIFY_SERVER": served.url if served is not None else "", **variables}
    return CliRunner().invoke(app, words, env=environment, input=given)


def ready(serve: Serve, *pieces: str, **variables: object) -> Served:
    served = serve(Script(pieces=pieces or FIXED), **variables)
    eventually(lambda: bool(served.app.state.ready))
    return served


def prompt_of(served: Served) -> str:
    assert isinstance(served.engine, ScriptedEngine)
    return served.engine.jobs[-1].prompts[0].text or ""


@pytest.mark.parametrize("name", ["fix", "document"])
def test_a_diff_comes_alone_and_the_file_stays(serve: Serve, folder: Path, name: str) -> None:
    result = run(ready(serve), name, "twice.py")
    assert (result.exit_code, result.stdout, result.stderr) == (0, DIFF, "")
    assert (folder / "twice.py").read_text() == CODE


def test_apply_writes_the_file_with_its_rights_and_through_a_link(serve: Serve, folder: Path) -> None:
    (folder / "twice.py").chmod(0o751)
    (folder / "link.py").symlink_to("twice.py")
    result = run(ready(serve), "fix", "--apply", "link.py")
    assert (result.exit_code, result.stderr) == (0, "kodify: link.py is written.\n")
    assert (folder / "link.py").is_symlink()
    assert (folder / "twice.py").read_text() == NEW
    assert (folder / "twice.py").stat().st_mode & 0o777 == 0o751
    assert sorted(path.name for path in folder.iterdir()) == ["link.py", "twice.py"]


def test_apply_keeps_carriage_returns_and_a_missing_end(serve: Serve, folder: Path) -> None:
    (folder / "twice.py").write_bytes(CODE.rstrip("\n").replace("\n", "\r\n").encode())
    assert run(ready(serve), "fix", "twice.py", "--apply").exit_code == 0
    assert (folder / "twice.py").read_bytes() == NEW.rstrip("\n").replace("\n", "\r\n").encode()


def test_a_file_that_changed_in_the_meantime_is_left_alone(
    serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ready(serve)
    plain = ScriptedEngine.submit

    async def change(*arguments: object) -> object:
        (folder / "twice.py").write_text("# mine\n" + CODE)
        return await plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ScriptedEngine, "submit", change)
    result = run(served, "fix", "twice.py", "--apply")
    assert result.exit_code == 3
    assert result.stderr.endswith("twice.py has changed in the meantime. Nothing was written.\n")
    assert (folder / "twice.py").read_text() == "# mine\n" + CODE
    assert [path.name for path in folder.iterdir()] == ["twice.py"]


def test_a_malformed_answer_writes_nothing_and_is_shown(serve: Serve, folder: Path) -> None:
    result = run(ready(serve, "```\n# ... rest unchanged\n```"), "fix", "twice.py", "--apply")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "# ... rest unchanged" in result.stderr
    assert result.stderr.endswith("kodify: The answer leaves code out: # ... rest unchanged\n")
    assert (folder / "twice.py").read_text() == CODE


def test_nothing_to_change_is_fine(serve: Serve, folder: Path) -> None:
    result = run(ready(serve, f"```\n{CODE}```"), "fix", "twice.py", "--apply")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "kodify: The model changed nothing.\n"


def test_lines_of_a_file(serve: Serve, folder: Path) -> None:
    served = ready(serve, "```\nreturn n * 2\n```")
    result = run(served, "fix", "twice.py:2", "-i", "Be quick.", "--language", "ruby")
    assert (result.exit_code, result.stdout) == (0, DIFF)
    assert "File: twice.py\n" in prompt_of(served)
    assert "the selected lines 2-2" in prompt_of(served)
    assert prompt_of(served).endswith("Be quick.")
    assert "```ruby\n" in prompt_of(served)
    (folder / "odd.py:7").write_text(CODE)
    assert "+++ b/odd.py:7\n" in run(ready(serve), "fix", "odd.py:7").stdout


def test_a_diff_names_a_file_from_the_working_directory(
    serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ready(serve)
    (folder / "src").mkdir()
    (folder / "twice.py").rename(folder / "src" / "twice.py")
    for reference in ("src/twice.py", f"{folder}/src/twice.py"):
        assert run(served, "fix", reference).stdout.startswith("--- a/src/twice.py\n")
    monkeypatch.chdir(folder / "src")
    (folder / "out.py").write_text(CODE)
    assert run(served, "fix", "../out.py").stdout.startswith("--- a/out.py\n")


def test_texts_come_as_they_are(serve: Serve, folder: Path) -> None:
    served = ready(serve, "# It\n", "`doubles`.\x1b[31m")
    for name in ("explain", "review"):
        result = run(served, name, "twice.py")
        assert (result.exit_code, result.stdout) == (0, "# It\n`doubles`.\x1b[31m\n")
    assert run(served, "review", "-", given=CODE).exit_code == 0
    assert "File:" not in prompt_of(served)


def test_tests_come_alone(serve: Serve, folder: Path) -> None:
    result = run(ready(serve, "Here:\n```\ndef test_a():\n    pass\n```\nBye."), "tests", "twice.py")
    assert (result.exit_code, result.stdout) == (0, "def test_a():\n    pass\n")
    result = run(ready(serve, "There are none."), "tests", "twice.py")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no block of code" in result.stderr


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.ru", *words], check=True, capture_output=True)


def test_a_commit_message_of_what_is_staged(serve: Serve, folder: Path) -> None:
    served = ready(serve, "```\nDouble it\n\nIt trebled.\n```\n")
    result = run(served, "commit-message")
    assert result.exit_code == 1
    assert result.stderr.startswith("kodify: git says: ")
    git("init", "--quiet")
    assert run(served, "commit-message").stderr == "kodify: There is nothing staged: `git add` first.\n"
    git("add", "twice.py")
    result = run(served, "commit-message")
    assert (result.exit_code, result.stdout) == (0, "Double it\n\nIt trebled.\n")
    assert "```diff\ndiff --git a/twice.py b/twice.py\n" in prompt_of(served)
    result = run(ready(serve, "Treble it\n"), "commit-message", "-", given=DIFF)
    assert (result.exit_code, result.stdout) == (0, "Treble it\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("fix", "nowhere.py"), "nowhere.py can't be read: No such file or directory."),
        (("fix", "."), ". can't be read: Is a directory."),
        (("fix", "binary"), "binary is no UTF-8 text."),
        (("fix", "twice.py:1-9"), "selection is lines 1 to 9, and the code has lines 1 to 2."),
        (("fix", "twice.py", "--model", "other"), 'The model "other" does not exist.'),
        (("explain", "twice.py", "--server", f"127.0.0.1:{free_port()}"), "can't be reached: [Errno 111]"),
        (("explain", "twice.py", "--server", "ftp://a"), "ftp://a is no address: give http://host:port"),
        (("explain", "twice.py", "--server", "https://a b"), "https://a b "),
        (("commit-message", "-"), "There is no diff."),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    serve: Serve, folder: Path, words: tuple[str, ...], sentence: str
) -> None:
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    result = run(ready(serve), *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("kodify: ")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_token(serve: Serve, folder: Path) -> None:
    served = ready(serve, VLLM_API_KEY=SecretStr("sesame"))
    assert run(served, "fix", "twice.py").stderr == (
        f"kodify: {served.url} wants a token: give --token, or set KODIFY_TOKEN.\n"
    )
    assert "does not know this token" in run(served, "fix", "twice.py", "--token", "x", KODIFY_TOKEN="sesame").stderr
    assert run(served, "fix", "twice.py", KODIFY_TOKEN="sesame").stdout == DIFF
    assert run(served, "fix", "twice.py", "--token", "sesame", KODIFY_TOKEN="x").stdout == DIFF
    assert "is no text" not in run(served, "fix", "twice.py", "--token", "ё").stderr


def test_the_folders_env_file_does_not_send_code_elsewhere(serve: Serve, folder: Path) -> None:
    (folder / ".env").write_text("KODIFY_SERVER=http://127.0.0.1:9\nKODIFY_TOKEN=theirs\n")
    assert run(ready(serve), "fix", "twice.py").stdout == DIFF


def test_a_server_that_has_no_time_says_when(serve: Serve, folder: Path) -> None:
    served = serve(Script(error_on_submit=UnavailableError("Too much waits.", retry_after_s=7)))
    eventually(lambda: bool(served.app.state.ready))
    result = run(served, "fix", "twice.py")
    assert (result.exit_code, result.stderr) == (1, "kodify: Too much waits. Try again in 7 s.\n")


def test_a_server_that_breaks_off(serve: Serve, folder: Path) -> None:
    served = serve(Script(pieces=("It is",), error=RuntimeError("x")))
    eventually(lambda: bool(served.app.state.ready))
    result = run(served, "explain", "twice.py")
    assert (result.exit_code, result.stdout) == (1, "It is\n")
    assert "kodify: The server broke off: Internal Server Error" in result.stderr


def on_terminal(served: Served, *words: str, command: list[str] | None = None) -> tuple[int, str]:
    """In a process of its own, as a developer has it."""
    leader, follower = pty.openpty()
    variables = {"KODIFY_SERVER": served.url, "TERM": "xterm-256color"}
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        command or [sys.executable, "-m", "kodify", *words],
        stdin=follower, stdout=follower, stderr=follower, env={**environment, **variables},
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


def test_a_terminal_has_colours_and_is_not_steered(serve: Serve, folder: Path) -> None:
    hostile = "Look: `n * 2` \x1b]52;c;AAAA\x07\u202e\n\n```python\ndef twice(n):\n    return n * 2\n```\n"
    code, shown = on_terminal(ready(serve, hostile[:20], hostile[20:]), "fix", "twice.py")
    assert code == 0
    assert "\x1b[36mn * 2\x1b[0m" in shown
    assert "… 2 lines of code" in shown
    assert "␛]52;c;AAAA␇\ufffd" in shown
    assert "\x1b]" not in shown
    assert "\x1b[32m+    return n * 2\x1b[0m" in shown
    assert "\x1b[31m-    return n * 3\x1b[0m" in shown
    code, shown = on_terminal(ready(serve, "# A\n```python\nimport os\n```\n", "end"), "explain", "twice.py")
    assert code == 0
    assert "\x1b[1;36m# A\x1b[0m" in shown
    assert "\x1b[94;49mimport\x1b[0m" in shown
    assert shown.endswith("```\x1b[0m\nend\n")


def test_what_quotes_the_model_does_not_steer_a_terminal_either(serve: Serve, folder: Path) -> None:
    elided = "```python\n# ... rest of the code \x1b]52;c;AAAA\x07\n```\n"
    code, shown = on_terminal(ready(serve, elided), "fix", "twice.py")
    assert code == 3
    assert "The answer leaves code out: # ... rest of the code ␛]52;c;AAAA␇" in shown
    assert "\x1b]" not in shown
    (folder / "a.diff").write_text(DIFF)
    served = ready(serve, "Fix twice \x1b]0;pwned\x07")
    asked = f"{sys.executable} -m kodify commit-message - < a.diff"
    code, shown = on_terminal(served, command=["sh", "-c", asked])
    assert code == 0
    assert shown == "Fix twice ␛]0;pwned␇\n"
