"""Which files of a folder are documents: what git says, and without it the same by hand."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from kodify.retrieval import walking
from kodify.retrieval.base import NOWHERE, Origin
from kodify.retrieval.checkouts import Checkout, GitError, checkout_of, repository_name
from kodify.retrieval.walking import walk

TREE = {
    ".gitignore": "*.log\n/build/\n!keep.log\n",
    "a.py": "", "a.log": "", "keep.log": "", "build/x.py": "", "sub/build/y.py": "",
    "sub/.gitignore": "*.tmp\n!a.log\n", "sub/b.tmp": "", "sub/a.log": "", "sub/c.py": "",
    "excluded.md": "", "node_modules/x.js": "",
}  # fmt: skip
KEPT = [".gitignore", "a.py", "keep.log", "sub/.gitignore", "sub/a.log", "sub/build/y.py", "sub/c.py"]


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(found))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return found


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    def listing(folder: Path) -> None:
        raise GitError("not now")

    monkeypatch.setattr(walking, "listing", listing)


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **who}).stdout


def write(root: Path, tree: dict[str, str]) -> None:
    for path, text in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())


def paths(root: Path) -> list[str]:
    return [one.path for one in walk(root) if one.refused is None]


def test_without_a_checkout_gitignore_is_read(tmp_path: Path) -> None:
    write(tmp_path, TREE)
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    assert paths(tmp_path) == sorted([*KEPT, "excluded.md"])


def test_in_a_checkout_git_is_asked(tmp_path: Path, home: Path) -> None:
    write(tmp_path, TREE)
    write(home, {".config/git/ignore": "*.secret\n"})
    write(tmp_path, {"sub/mine.secret": "", "sub/ ы.py": ""})
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    git(tmp_path, "init", "-q")
    write(tmp_path, {".git/info/exclude": "excluded.md\n"})
    assert paths(tmp_path) == sorted([*KEPT, "sub/ ы.py"])
    assert paths(tmp_path / "sub") == sorted(["build/y.py", "c.py", ".gitignore", "a.log", " ы.py"])
    git(tmp_path, "add", "-f", "a.log", "link.py")
    (tmp_path / "a.py").unlink()
    assert paths(tmp_path) == sorted(["a.log", "sub/ ы.py", *KEPT[:1], *KEPT[2:]])


def test_a_worktree_and_checkouts_inside(tmp_path: Path) -> None:
    main, other = tmp_path / "main", tmp_path / "other"
    write(main, {"a.py": "", "inner/.gitignore": "no.py\n", "inner/no.py": "", "inner/yes.py": ""})
    git(main, "init", "-q")
    git(main / "inner", "init", "-q")
    git(main, "add", "a.py")
    git(main, "commit", "-q", "-m", "first")
    git(main, "worktree", "add", "-q", str(other))
    write(main, {".git/info/exclude": "private.md\n"})
    write(other, {"private.md": "", "b.py": ""})
    assert paths(other) == ["a.py", "b.py"]
    assert paths(main) == ["a.py", "inner/.gitignore", "inner/yes.py"]
    assert paths(tmp_path) == [
        "main/a.py", "main/inner/.gitignore", "main/inner/yes.py", "other/a.py", "other/b.py",
    ]  # fmt: skip


def test_a_submodule_that_is_not_there(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    write(tmp_path, {"a.py": "", "sub/b.py": ""})
    assert paths(tmp_path) == ["a.py", "sub/b.py"]


def test_a_folder_behind_a_link_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, {"lib/a.py": "", "b.py": ""})
    write(tmp_path, {"outside/a.py": ""})
    git(root, "init", "-q")
    git(root, "add", ".")
    shutil.rmtree(root / "lib")
    (root / "lib").symlink_to(tmp_path / "outside")
    assert paths(root) == ["b.py"]


def test_who_names_an_ignored_folder_wants_it(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*\n", "out/docs/a.md": "", "out/docs/.gitignore": "no.md\n", "out/docs/no.md": ""})
    git(tmp_path, "init", "-q")
    assert paths(tmp_path / "out" / "docs") == [".gitignore", "a.md"]
    assert paths(tmp_path) == []


@pytest.mark.usefixtures("by_hand")
def test_where_git_does_not_answer_all_of_gitignore_is_read(tmp_path: Path) -> None:
    write(tmp_path, {**TREE, ".git/info/exclude": "excluded.md\n"})
    found = walk(tmp_path)
    assert [one.path for one in found if one.refused is None] == KEPT
    (told,) = [one.refused for one in found if one.refused is not None]
    assert told == "git does not tell what is ignored here, so .gitignore is read without it: not now"
    assert paths(tmp_path / "sub") == [".gitignore", "a.log", "build/y.py", "c.py"]
    write(tmp_path, {"sub/deep/x.log": "", "sub/deep/y.py": ""})
    assert paths(tmp_path / "sub" / "deep") == ["y.py"]
    assert paths(tmp_path / "build") == ["x.py"]  # who names it wants it


def test_a_checkout_of_somebody_else_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, TREE)
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    (told,) = [one for one in walk(tmp_path) if one.refused is not None]
    assert (told.path, told.is_unknown) == ("", False)
    assert told.refused is not None
    assert "dubious ownership" in told.refused
    assert "a.log" not in paths(tmp_path)


def test_a_checkout_that_says_its_files_are_elsewhere(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(root, TREE)
    git(root, "init", "-q")
    git(root, "config", "core.worktree", str(elsewhere))
    (told,) = [one.refused for one in walk(root) if one.refused is not None]
    assert told is not None
    assert told.endswith(f"its configuration has the files in {elsewhere}")
    assert "a.py" in paths(root)
    assert "a.log" not in paths(root)
    assert checkout_of(root) == Checkout()


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, TREE)
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("PATH", "")
    (told,) = [one.refused for one in walk(tmp_path) if one.refused is not None]
    assert told is not None
    assert told.endswith("git is not installed")
    assert checkout_of(tmp_path) == Checkout()


def test_what_git_could_not_look_at_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, real = tmp_path / "root", shutil.which("git")
    write(root, {"a.py": ""})
    git(root, "init", "-q")
    write(
        tmp_path, {"bin/git": f'#!/bin/sh\ncase "$*" in *ls-files*) echo "warning: no" >&2;; esac\nexec {real} "$@"\n'}
    )
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    told, found = walk(root)
    assert (told.path, told.refused, told.is_unknown) == ("", "git could not look at all of it: warning: no", True)
    assert found.path == "a.py"


def test_no_command_of_a_checkouts_configuration_is_run(tmp_path: Path) -> None:
    """It may have come in an archive."""
    root, ran = tmp_path / "root", tmp_path / "ran"
    write(root, {"a.py": "a = 1\n", "b.py": "b = 1\n", ".gitattributes": "*.py filter=bad diff=bad\n"})
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    write(tmp_path, {"run": f"#!/bin/sh\necho $0 >> {ran}\ncat\n"})
    (tmp_path / "run").chmod(0o755)
    for name in (
        "core.fsmonitor", "core.pager", "diff.external", "filter.bad.clean", "filter.bad.smudge", "filter.bad.process",
        "diff.bad.command", "diff.bad.textconv", "core.sshCommand", "core.editor", "core.askPass",
    ):  # fmt: skip
        git(root, "config", name, str(tmp_path / "run"))
    git(root, "config", "filter.bad.required", "true")
    write(root, {".git/hooks/post-index-change": f"#!/bin/sh\necho hook >> {ran}\n"})
    (root / ".git" / "hooks" / "post-index-change").chmod(0o755)
    os.utime(root / "a.py", (1, 1))  # git has to look into it
    write(root, {"b.py": "b = 2\n"})
    assert checkout_of(root).files == {"a.py", ".gitattributes"}
    assert "a.py" in paths(root)
    assert not ran.exists()
    subprocess.run(["git", "-C", str(root), "status", "--porcelain"], capture_output=True, check=False)
    assert ran.exists()  # it would have been


def test_a_folder_that_cant_be_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a.py": "", "closed/b.py": "", "gone/c.py": "", "d.py": "", "e.py": ""})
    scandir, lstat = os.scandir, Path.lstat

    def scanned(folder: Path) -> object:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        if folder.name == "gone":
            raise FileNotFoundError
        return scandir(folder)

    def looked(file: Path) -> os.stat_result:
        if file.name == "d.py":
            raise FileNotFoundError
        if file.name == "e.py":
            raise OSError(5, "Input/output error")
        return lstat(file)

    monkeypatch.setattr(os, "scandir", scanned)
    monkeypatch.setattr(Path, "lstat", looked)
    found = [(one.path, one.refused, one.is_unknown) for one in walk(tmp_path)]
    assert found == [
        ("a.py", None, False),
        ("closed", "it can't be read: Permission denied", True),
        ("e.py", "it can't be read: Input/output error", True),
    ]


@pytest.mark.parametrize("is_checkout", [False, True])
def test_a_thousand_folders_deep(tmp_path: Path, is_checkout: bool) -> None:
    if is_checkout:
        git(tmp_path, "init", "-q")
    folder = tmp_path
    try:
        for _ in range(1500):
            folder = folder / "d"
            folder.mkdir()
        (folder / "a.py").write_text("")
        assert paths(tmp_path) == ["d/" * 1500 + "a.py"]
    finally:  # pytest's own way would call itself for each
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_names_that_would_steer_are_left_out(tmp_path: Path) -> None:
    for name in (b"a\x1b[2J.md", b"a\nb.md", b"\xff.md", "non\u00a0breaking \u2028\u200b.md".encode()):
        (tmp_path / os.fsdecode(name)).write_text("text")
    found = {one.path: one.refused for one in walk(tmp_path)}
    assert found == {
        "non\u00a0breaking \u2028\u200b.md": None,
        r"'a\x1b[2J.md'": "its name has control characters",
        r"'a\nb.md'": "its name has control characters",
        r"'\udcff.md'": "its name is no UTF-8",
    }


FILES = ["a.py", "b.txt", "ab.py", "[z-a].py", "z", "foo", "foo\\", "sp ace", "sub/a.py", "sub/b.txt", "sub/deep/a.py",
         "sub/deep/foo/c.txt", "abc/b/c.py", "#x", "!y", "sub/]", "line\u2028a.py"]  # fmt: skip
PATTERNS = [
    "\ufeffa.py", "a.py\r\n", "*\n!*/\n!*.py", "!", "foo\\", "[z-a]", "[z-a", "[!a]*", "[]]", "[[:alpha:]]*",
    "[[:no:]]",
    "/sub", "sub/", "sub/*", "sub/**", "**/foo", "**", "/**", "sub/**/a.py", "**/deep/**", "a*b", "*a*", "?.py",
    "\\#x", "\\!y", "#x", "su[b/]/a.py", "sub[/]a.py", "sub\\/a.py", "[!/]*/deep",
    "sp ace   ", "z\\ ", "deep/a.py", "sub//a.py", "/", "//", "***", "sub/***/c.txt", "s*b/d*/*.py", "x\u2028*.py",
    "[a-c-z]*", "[^/]oo", "sub/[a\\-z].py", "foo/\n!foo/c.txt", "*.py\n!sub/\n!/sub/a.py", "[[:]*", "[\\]", "*/b*",
]  # fmt: skip


@pytest.mark.parametrize("text", PATTERNS)
def test_patterns_are_read_as_git_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    write(tmp_path, {**dict.fromkeys(FILES, ""), ".gitignore": text})
    assert_same(tmp_path, monkeypatch)


@pytest.mark.parametrize("seed", range(40))
def test_any_patterns_are_read_as_git_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chosen = random.Random(seed)
    parts = [
        "*",
        "**",
        "/",
        "/",
        "!",
        "a",
        "b",
        "sub",
        "deep",
        "foo",
        ".py",
        "?",
        "[ab]",
        "[!b]",
        "\\",
        " ",
        "[",
        "]",
        "-",
    ]
    for at in ("", "sub/"):
        lines = ["".join(chosen.choices(parts, k=chosen.randint(1, 6))) for _ in range(chosen.randint(1, 6))]
        write(tmp_path, {f"{at}.gitignore": "\n".join(lines)})
    write(tmp_path, dict.fromkeys(FILES, ""))
    assert_same(tmp_path, monkeypatch)


def assert_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(root, "init", "-q")
    told = paths(root)
    with monkeypatch.context() as patched:
        patched.setattr(walking, "top_of", lambda folder: None)
        assert paths(root) == told


def test_no_pattern_is_slow(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*a" * 60 + "b\n" + "**/a/" * 60 + "b\n", "a" * 250: "", "a/" * 200 + "a": ""})
    assert len(paths(tmp_path)) == 3


def test_what_git_knows(tmp_path: Path) -> None:
    assert checkout_of(tmp_path) == Checkout()
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://user:secret@git.example.ru/team/project.git")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    assert checkout_of(tmp_path) == Checkout("git.example.ru/team/project", git(tmp_path, "rev-parse", "HEAD").strip())
    (tmp_path / "src").mkdir()
    for name in ("same ы.py", "changed.py"):
        (tmp_path / "src" / name).write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "second")
    (tmp_path / "src" / "changed.py").write_text("a = 2\n")
    (tmp_path / "src" / "new.py").write_text("a = 1\n")
    found, commit = checkout_of(tmp_path / "src"), git(tmp_path, "rev-parse", "HEAD").strip()
    assert found.origin("same ы.py") == Origin(commit, "git.example.ru/team/project", "src/same ы.py")
    assert found.origin("changed.py") == found.origin("new.py") == NOWHERE
    assert checkout_of(tmp_path / "src" / "same ы.py").origin("same ы.py").path == "src/same ы.py"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("git@github.com:a/b.git", "github.com/a/b"),
        ("ssh://git@Host:22/a/b.git", "host/a/b"),
        ("https://u:p@host:8443/a/b/", "host/a/b"),
        ("/srv/git/x.git", "/srv/git/x"),
        ("", None),
        (None, None),
    ],
)
def test_a_repositorys_name(address: str | None, name: str | None) -> None:
    assert repository_name(address) == name
