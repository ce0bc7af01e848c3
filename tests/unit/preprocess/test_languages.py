"""The table of languages."""

from __future__ import annotations

import ast
import dataclasses
import json
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodify.preprocess.languages import PLAIN, TABLE, Language, find_language, guess_language, list_languages

MARKS: dict[str, tuple[str | None, tuple[str, str] | None]] = {
    "python": ("#", None),
    "javascript": ("//", ("/*", "*/")),
    "typescript": ("//", ("/*", "*/")),
    "go": ("//", ("/*", "*/")),
    "rust": ("//", ("/*", "*/")),
    "java": ("//", ("/*", "*/")),
    "c": ("//", ("/*", "*/")),
    "cpp": ("//", ("/*", "*/")),
    "csharp": ("//", ("/*", "*/")),
    "ruby": ("#", None),
    "php": ("//", ("/*", "*/")),
    "shellscript": ("#", None),
    "sql": ("--", ("/*", "*/")),
    "lua": ("--", ("--[[", "]]")),
    "html": (None, ("<!--", "-->")),
    "css": (None, ("/*", "*/")),
    "yaml": ("#", None),
    "haskell": ("--", ("{-", "-}")),
    "clojure": (";", None),
    "matlab": ("%", ("%{", "%}")),
}


def test_the_table_names_nothing_that_is_not_a_languages() -> None:
    fields = {field.name for field in dataclasses.fields(Language)}
    rows = json.loads(TABLE.read_text())
    assert len(rows) >= 45
    assert [row["id"] for row in rows if set(row) - fields] == []
    assert list_languages() == (*list_languages()[: len(rows)], PLAIN)


@pytest.mark.parametrize("what", ["names", "extensions", "filenames"])
def test_nothing_stands_for_two_languages(what: str) -> None:
    given_names = [
        name.lower()
        for language in list_languages()
        for name in ((language.id, *language.aliases) if what == "names" else getattr(language, what))
    ]
    assert [name for name, count in Counter(given_names).items() if count > 1] == []


@pytest.mark.parametrize(("name", "marks"), MARKS.items())
def test_the_marks_of_comments(name: str, marks: tuple[str | None, tuple[str, str] | None]) -> None:
    language = find_language(name)
    assert (language.line_comment, language.block_comment) == marks


def test_every_language_can_comment_and_end_its_blocks() -> None:
    for language in list_languages():
        assert language.line_comment or language.block_comment, language.id
        assert (language.blocks == "words") == bool(language.block_end), language.id


@pytest.mark.parametrize(
    ("name", "path", "found"),
    [
        ("python", None, "python"),
        ("Python", "x.js", "python"),
        ("typescriptreact", None, "typescript"),
        ("C++", None, "cpp"),
        ("cs", None, "csharp"),
        ("sh", None, "shellscript"),
        ("zsh", None, "shellscript"),
        ("golang", None, "go"),
        ("Shell Script", None, "shellscript"),
        (None, "src/main.rs", "rust"),
        (None, "C:\\src\\Main.KT", "kotlin"),
        ("unheard-of", "a/b.tsx", "typescript"),
        ("plaintext", "a/b.sql", "sql"),
        ("plaintext", None, "plaintext"),
        (None, "Makefile", "makefile"),
        (None, "deploy/Dockerfile.prod", "dockerfile"),
        (None, "CMakeLists.txt", "cmake"),
        (None, "notes.txt", "plaintext"),
        (None, ".bashrc", "shellscript"),
        (None, "a.unheard", "plaintext"),
        (None, None, "plaintext"),
        ("", "", "plaintext"),
    ],
)
def test_a_language_is_found(name: str | None, path: str | None, found: str) -> None:
    assert find_language(name, path).id == found


@pytest.mark.parametrize(
    ("name", "text", "comment"),
    [
        ("python", "a = 1\n\nb", "# a = 1\n#\n# b"),
        ("go", "}\r\n{", "// }\n// {"),
        ("html", "<p>\n--> <b>", "<!-- <p>\n- -> <b> -->"),
        ("css", "a {}\n/* x */", "/* a {}\n/ * x * / */"),
        (None, "x", "# x"),
    ],
)
def test_a_text_as_comments(name: str | None, text: str, comment: str) -> None:
    assert find_language(name).comment(text) == comment


@given(st.text())
def test_no_text_ends_its_comment(text: str) -> None:
    assert ast.parse(find_language("python").comment(text.replace("\0", ""))).body == []
    for name in ("html", "css", "ocaml"):
        language = find_language(name)
        assert language.block_comment is not None
        assert language.comment(text).count(language.block_comment[1]) == 1


@pytest.mark.parametrize(
    ("text", "whole", "begins"),
    [
        ("use std;", True, True),
        ("user_x", True, False),
        ("use", True, True),
        ("use", False, None),
        ("us", False, None),
        ("us", True, False),
        ("#[derive]", False, True),
        ("x", False, False),
    ],
)
def test_words_are_whole(text: str, whole: bool, begins: bool | None) -> None:
    assert find_language("rust").begins(("use", "#["), text, is_whole=whole) is begins


GUESSES = [
    ("python", "import os\n\n\nclass A:\n    def f(self):\n        return "),
    ("go", 'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.'),
    ("rust", "use std::io;\n\nfn main() {\n    let x = 1;\n    "),
    ("java", "package a.b;\n\npublic class A {\n    private int x;\n    "),
    ("cpp", "#include <vector>\n\nnamespace a {\ntemplate <typename T>\nclass B {\n"),
    ("ruby", "require 'a'\n\nclass A\n  def b\n    1\n  end\n  "),
    ("sql", "CREATE TABLE a (\n  id int\n);\n\nSELECT * FROM "),
    ("plaintext", "Dear all,\n\nplease find "),
    ("plaintext", ""),
]


@pytest.mark.parametrize(("name", "text"), GUESSES)
def test_guesses(name: str, text: str) -> None:
    assert guess_language(text, "").id == name


def test_guesses_of_real_files() -> None:
    """The standard library is Python, whichever piece of it is shown."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:100]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    guesses = [guess_language(text[: len(text) // 2], text[len(text) // 2 :]).id for text in texts if len(text) > 2000]
    assert guesses.count("python") >= 0.95 * len(guesses)
