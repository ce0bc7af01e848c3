"""From a model's answer to a diff that git applies, or to the reason why there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kodify.actions import Actions, Outcome, Subject, conclude
from kodify.actions.diff import DoesNotApplyError, patch
from tests.unit.actions.cases import CASES, JAVASCRIPT, PYTHON, Case, block

ACTIONS = Actions()


def outcome_of(case: Case) -> Outcome:
    subject = Subject(case.code, path=case.path, selection=case.selection, instructions=case.instructions)
    return conclude(ACTIONS.find(case.action), subject, case.answer)


def git(folder: Path, *words: str, given: str | None = None) -> None:
    done = subprocess.run(
        ["git", *words], cwd=folder, input=None if given is None else given.encode(), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_diff_applies_with_git(tmp_path: Path, case: Case) -> None:
    outcome = outcome_of(case)
    assert outcome.complaint is None
    assert outcome.diff is not None
    file = tmp_path / case.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(case.code.encode())
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "apply", "-", given=outcome.diff)
    assert file.read_bytes() == case.new.encode()
    assert outcome.code == case.new
    git(tmp_path, "apply", "--reverse", "-", given=outcome.diff)
    assert file.read_bytes() == case.code.encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_diff_applies_here_and_to_nothing_else(case: Case) -> None:
    outcome = outcome_of(case)
    assert outcome.diff is not None
    assert patch(case.code, outcome.diff) == case.new
    if case.code:
        with pytest.raises(DoesNotApplyError):
            patch("another first line\n" + case.code, outcome.diff)


def test_a_diff_has_few_lines_beside_what_changed() -> None:
    case = next(case for case in CASES if case.name.startswith("many hunks"))
    diff = outcome_of(case).diff or ""
    assert diff.count("@@ -") == 3
    assert len(diff.splitlines()) < 30


HALF = "".join(PYTHON.splitlines(True)[:9])


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        ("Use `**` in place of `^`.", "stop", "no block of code"),
        ("", "stop", "no block of code"),
        (block(PYTHON) + "\n\nor\n\n" + block(PYTHON.replace("^", "**")), "stop", "2 blocks of code"),
        ("```python\n" + HALF, "length", "cut at its longest"),
        (block(PYTHON.replace("^", "**")) + "\n\nAnd th", "length", "cut at its longest"),
        ("```python\n" + HALF, "stop", "has no end"),
        (block(HALF), "content_filter", "content_filter"),
        (block(""), "stop", "is empty"),
        (block("\n  \n"), "stop", "is empty"),
        (block("import math\n\n# ... rest unchanged\n"), "stop", "leaves code out: # ... rest unchanged"),
        (block(HALF + "\n    # (rest of the class remains the same)\n"), "stop", "leaves code out"),
        (block(HALF + "...\n"), "stop", "has lost"),
        (block("import math\n"), "stop", "has lost 9 of 10 lines"),
        (block("Here is the fixed code:\n" + PYTHON.replace("^", "**")), "stop", "prose among its code"),
        (block(PYTHON.replace("^", "**") + "\nI have fixed the power.\n"), "stop", "prose among its code"),
        (block("Вот исправленный файл\n" + PYTHON.replace("^", "**")), "stop", "prose among its code"),
        # a shorter fence than was asked for, with a block in what is documented
        (block(PYTHON.replace("import", "```\nx\n```\nimport")), "stop", "blocks of code"),
    ],
)
def test_a_malformed_answer_is_told_and_makes_no_half_file(answer: str, reason: str, words: str) -> None:
    outcome = conclude(ACTIONS.find("fix"), Subject(PYTHON, path="a.py"), answer, reason)
    assert outcome.complaint is not None
    assert words in outcome.complaint
    assert (outcome.code, outcome.diff, outcome.is_unchanged) == (None, None, False)


@pytest.mark.parametrize(
    "line",
    [
        "// ... existing code ...", "/* ... */", "// rest of the code", "...", "// …", "// unchanged",
        "// The rest of the function remains the same.", "// [other methods here]", "// остальной код без изменений",
        "// ... остальное без изменений", "// same as before", "// your code here", "// (omitted for brevity)",
        "... rest of the file unchanged ...", "-- rest of file --", "<!-- remaining lines -->", "{/* ...rest */}",
    ],
)  # fmt: skip
def test_lines_that_stand_for_code(line: str) -> None:
    outcome = conclude(ACTIONS.find("fix"), Subject(JAVASCRIPT, path="a.js"), block(f"{line}\n{JAVASCRIPT}"))
    assert outcome.complaint == f"The answer leaves code out: {line}"


@pytest.mark.parametrize(
    "line",
    [
        "// Returns the list unchanged.", "// Waits for the rest of the list.", "const all = [...rest]",
        "// Loading...", "# see above", "// The previous method is kept for old clients.", "// TODO: more tests",
        " * @param rest the other values", "// etc...",
    ],
)  # fmt: skip
def test_lines_that_do_not(line: str) -> None:
    outcome = conclude(ACTIONS.find("fix"), Subject(JAVASCRIPT, path="a.js"), block(f"{line}\n{JAVASCRIPT}"))
    assert outcome.complaint is None


def test_a_line_that_the_code_has_itself_is_its_own() -> None:
    code = "// ... rest unchanged\n" + JAVASCRIPT
    assert conclude(ACTIONS.find("fix"), Subject(code), block(code.replace("total", "sum"))).diff


def test_a_python_body_of_dots_is_code() -> None:
    outcome = conclude(
        ACTIONS.find("fix"), Subject("class A:\n    def f(self):\n"), block("class A:\n    def f(self):\n        ...\n")
    )
    assert outcome.complaint is None


@pytest.mark.parametrize("action", ["fix", "document"])
def test_an_answer_that_changes_nothing_says_so(action: str) -> None:
    crlf = PYTHON.replace("\n", "\r\n")
    outcome = conclude(ACTIONS.find(action), Subject(crlf), block(PYTHON))
    assert outcome.is_unchanged
    assert (outcome.code, outcome.diff, outcome.complaint) == (crlf, None, "The model changed nothing.")


def test_documenting_may_not_lose_code() -> None:
    short = "".join(line for line in PYTHON.splitlines(True) if "raise" not in line and "self" not in line)
    assert "has lost" in (conclude(ACTIONS.find("document"), Subject(PYTHON), block(short)).complaint or "")


def test_tests_are_the_one_block_and_texts_are_texts() -> None:
    subject = Subject(PYTHON, path="a.py")
    tests = conclude(ACTIONS.find("tests"), subject, "Here:\n\n" + block("def test_a():\n    assert True\n", "python"))
    assert (tests.code, tests.diff, tests.prose) == ("def test_a():\n    assert True\n", None, "Here:")
    assert conclude(ACTIONS.find("tests"), subject, "None.").complaint == "The answer has no block of code."
    assert conclude(ACTIONS.find("explain"), subject, block("a\n")) == Outcome()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (None, "code.py"), ("a.py", "a.py"), ("./src/a.py", "src/a.py"), ("/home/me/a.py", "a.py"),
        ("../a.py", "a.py"), ("C:\\src\\a.py", "a.py"), ("src\\lib\\a.py", "src/lib/a.py"), ("a//b.py", "b.py"),
        ("..", "code.py"), ("", "code.py"), ("a/..", "code.py"),
    ],
)  # fmt: skip
def test_a_diffs_path_stays_within_its_folder(path: str | None, shown: str) -> None:
    assert Subject("a", "python", path).diff_path == shown
