"""Actions' files: the shipped ones, read again when they change, and what is wrong with them."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from kodify.actions import SHIPPED, Actions, Subject, problem
from kodify.errors import BadRequestError, NotFoundError

NAMES = ["document", "fix", "tests", "explain", "review", "commit-message"]
GOOD = "---\ntitle: {en: Shout}\ndescription: {en: Loud}\n---\n# System\nShout.\n# User\n{{ fenced(code) }}\n"
CONFIGS = Path(__file__).parents[3] / "configs" / "actions"


def test_the_shipped_actions_are_those_of_the_guides_in_order() -> None:
    actions = Actions()
    assert actions.names() == NAMES
    assert [action.name for action in actions.all() if action.makes_diff] == ["document", "fix"]
    assert CONFIGS.resolve() == SHIPPED.resolve()


@pytest.mark.parametrize("name", NAMES)
def test_what_a_shipped_action_says(name: str) -> None:
    code = "def f():\n    pass\n\n\ndef g():\n    return '```'\n"
    subject = Subject(code, "py", "src/a.py", (5, 6), "Be brief. {{ 7 * 7 }} {% raise %}")
    action = Actions().find(name)
    messages, sampling = action.messages(subject), action.sampling
    system, user = (message["content"] for message in messages)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert len(system) > 100
    assert "````python\ndef g():\n    return '```'\n````" in user
    assert user.endswith("Be brief. {{ 7 * 7 }} {% raise %}")
    if name != "commit-message":
        assert "File: src/a.py\n" in user
        assert user.index("def f()") < user.index("def g()")
    assert 0 <= sampling["temperature"] <= 1
    told = action.describe()
    assert set(told["title"]) == set(told["description"]) == {"en", "ru"}
    assert told["title"]["en"] != told["title"]["ru"]


def write(folder: Path, name: str, text: str) -> None:
    """As an editor does: a new file in the old one's place."""
    new = folder / f".{name}.new"
    new.write_text(text, encoding="utf-8")
    new.replace(folder / f"{name}.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "actions")
    return tmp_path / "actions"


def said(actions: Actions, name: str) -> str:
    return str(actions.find(name).messages(Subject("a = 1\n"))[0]["content"])


def test_a_change_counts_at_once_and_a_broken_file_leaves_the_last_good_one(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    actions = Actions(folder, look_every_s=0)
    assert actions.names() == NAMES
    write(folder, "shout", GOOD)
    (folder / "README.md").write_text("No action.")
    assert said(actions, "shout") == "Shout."
    write(folder, "shout", GOOD.replace("Shout.", "Louder."))
    assert said(actions, "shout") == "Louder."
    with caplog.at_level(logging.ERROR):
        write(folder, "shout", GOOD.replace("{en: Shout}", "[x"))
        for _ in range(3):
            assert said(actions, "shout") == "Louder."
    (record,) = caplog.records
    assert "shout.md" in record.getMessage()
    assert "The last good one goes on." in record.getMessage()
    write(folder, "shout", GOOD)
    assert said(actions, "shout") == "Shout."
    (folder / "shout.md").unlink()
    with pytest.raises(NotFoundError):
        actions.find("shout")
    assert actions.names() == NAMES


def test_without_its_folder_the_actions_go_on(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    actions = Actions(folder, look_every_s=0)
    assert actions.names() == NAMES
    shutil.rmtree(folder)
    assert actions.names() == NAMES
    assert actions.names() == NAMES
    assert len([record for record in caplog.records if "can't be read" in record.getMessage()]) == 1


def test_a_change_in_place_of_the_same_size_is_seen(folder: Path) -> None:
    actions = Actions(folder, look_every_s=0)
    path = folder / "shout.md"
    path.write_text(GOOD)
    assert said(actions, "shout") == "Shout."
    path.write_text(GOOD.replace("Shout.", "Shoot."))
    os.utime(path, ns=(1, 2))
    assert said(actions, "shout") == "Shoot."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no front matter"),
        ("# System\n# User\n", "no front matter"),
        (GOOD.replace("{en: Shout}", "[x"), "no YAML"),
        (GOOD.replace("title: {en: Shout}\n", ""), "title: Field required"),
        (GOOD.replace("{en: Shout}", "{ru: Громко}"), "title: needs en"),
        (GOOD.replace("---\n#", "colour: red\n---\n#"), "colour: Extra inputs are not permitted"),
        (GOOD.replace("---\n#", "temperature: 9\n---\n#"), "temperature: Input should be less than or equal to 2"),
        (GOOD.replace("---\n#", "answers: poem\n---\n#"), "answers: Input should be 'diff', 'code' or 'text'"),
        (GOOD.replace("# User", "# You"), "# System` and `# User"),
        (GOOD.replace("{{ fenced(code) }}", "{{ fenced(kode) }}"), "'kode' is undefined"),
        (GOOD.replace("{{ fenced(code) }}", "{% if %}"), "can't be filled"),
        (GOOD.replace("{{ fenced(code) }}", "{{ code.nothing.at.all }}"), "can't be filled"),
        (GOOD.replace("{{ fenced(code) }}", "{{ ''.__class__.__mro__ }}"), "unsafe"),
    ],
)
def test_a_broken_file_is_told_in_one_sentence(folder: Path, text: str, words: str) -> None:
    write(folder, "shout", text)
    found = problem(str(folder))
    assert found is not None
    assert found.startswith("ACTIONS_PATH: ")
    assert "shout" in found
    assert words in found
    assert "\n" not in found


def test_a_folder_that_is_none(tmp_path: Path, folder: Path) -> None:
    assert problem(None) is None
    assert problem(str(folder)) is None
    assert "not a folder" in (problem(str(tmp_path / "nowhere")) or "")
    assert "has no action" in (problem(str(tmp_path)) or "")


@pytest.mark.parametrize(
    ("code", "selection", "words"),
    [
        ("", None, "code is empty"),
        (" \n\t\r\n", None, "code is empty"),
        ("a\0b", None, "NUL"),
        ("a\nb\n", (0, 1), "lines 0 to 1, and the code has lines 1 to 2"),
        ("a\nb\n", (2, 1), "lines 2 to 1"),
        ("a\nb\n", (2, 3), "lines 2 to 3"),
        ("a\nb", (3, 3), "lines 3 to 3"),
    ],
)
def test_nothing_to_work_on(code: str, selection: tuple[int, int] | None, words: str) -> None:
    with pytest.raises(BadRequestError, match=words):
        Subject(code, selection=selection)
