"""Answers of models whose diffs must apply: languages, line ends, selections, and what models do to code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """`answer`: what the model says; `new`: what the file must be when `git apply` has done its work."""

    name: str
    path: str
    code: str
    answer: str
    new: str
    selection: tuple[int, int] | None = None
    action: str = "fix"
    instructions: str = ""


def block(text: str, language: str = "", fence: str = "```") -> str:
    return f"{fence}{language}\n{text}{fence}"


PYTHON = """import math


def area(radius):
    return math.pi * radius ^ 2


class Circle:
    def __init__(self, radius):
        self.radius = radius

    def grow(self, by):
        if by < 0:
            raise ValueError("by")
        self.radius =+ by
"""
DOCUMENTED = PYTHON.replace(
    "def area(radius):\n", 'def area(radius):\n    """The area of a circle of this radius."""\n'
).replace("class Circle:\n", 'class Circle:\n    """A circle that can grow."""\n\n')
JAVASCRIPT = "export function sum(list) {\n  let total\n  for (const one of list) total += one\n  return total\n}\n"
GO = 'package main\n\nimport "fmt"\n\nfunc main() {\n\tfor i := 0; i <= 3; i++ {\n\t\tfmt.Println(i)\n\t}\n}\n'
MAKEFILE = "all: build\n\tcc -o app main.c\n\nclean:\n\trm -rf ap\n"
C = "#include <stdio.h>\r\n\r\nint main(void)\r\n{\r\n    printf('hi');\r\n    return 0;\r\n}\r\n"
RUST = "fn first(list: &[i32]) -> i32 {\n    list[0]\n}\n"
JAVA = "class A {\n    int get() {\n        return x\n    }\n\n    int x;\n}\n"
SQL = "SELECT id\nFROM people\nWHERE name = NULL;\n"
MARKDOWN = "# Use\n\n```\nkodify sevre\n```\n\nThat is all.\n"
LONG = "".join(f"value_{n} = {n}\n" for n in range(400))
STRING = 'def page():\n    text = """\nleft\n  more\n"""\n    return txet\n'
OPTION = "fn second(list: &[i32]) -> Option<i32> {\n    // None where it is empty\n    list.first().copied()\n}\n"
YAML = "jobs:\n  test:\n    steps:\n      - run: make tset\n"

CASES = (
    Case(
        "python, the whole file, with prose around the block",
        "src/shapes.py",
        PYTHON,
        "`^` is no power.\n\n" + block(PYTHON.replace("^", "**").replace("=+", "+="), "python") + "\n\nDone.",
        PYTHON.replace("^", "**").replace("=+", "+="),
    ),
    Case("python, documented", "src/shapes.py", PYTHON, block(DOCUMENTED), DOCUMENTED, action="document"),
    Case(
        "python, a method that was selected and came back without its indentation",
        "shapes.py",
        PYTHON,
        block('def grow(self, by):\n    if by < 0:\n        raise ValueError("by")\n    self.radius += by\n', "python"),
        PYTHON.replace("=+", "+="),
        (12, 15),
    ),
    Case(
        "python, one selected line that came back at the left edge",
        "shapes.py",
        PYTHON,
        block("self.radius += by\n"),
        PYTHON.replace("=+", "+="),
        (15, 15),
    ),
    Case(
        "python, a long string keeps its left edge while the rest is moved",
        "page.py",
        "if True:\n" + STRING.replace("def page", "    def page").replace("\n    ", "\n        "),
        block(STRING.replace("txet", "text")),
        "if True:\n"
        + STRING.replace("def page", "    def page").replace("\n    ", "\n        ").replace("txet", "text"),
        (2, 7),
    ),
    Case(
        "javascript, no line feed at the end of the file",
        "sum.mjs",
        JAVASCRIPT.rstrip("\n"),
        block(JAVASCRIPT.replace("let total", "let total = 0"), "js"),
        JAVASCRIPT.replace("let total", "let total = 0").rstrip("\n"),
    ),
    Case(
        "the last line changes in a file without a line feed at its end",
        "query.sql",
        SQL.rstrip("\n"),
        block(SQL.replace("= NULL", "IS NULL"), "sql"),
        SQL.replace("= NULL", "IS NULL").rstrip("\n"),
    ),
    Case(
        "lines are added behind a last line that has no line feed",
        "a.txt",
        "one",
        block("one\ntwo\n"),
        "one\ntwo",
    ),
    Case(
        "go, tabs that came back as four spaces",
        "cmd/main.go",
        GO,
        block(GO.replace("\t", "    ").replace("<=", "<"), "go"),
        GO.replace("<=", "<"),
    ),
    Case(
        "a makefile, whose tabs matter, came back with eight spaces",
        "Makefile",
        MAKEFILE,
        block(MAKEFILE.replace("\t", " " * 8).replace("rm -rf ap\n", "rm -rf app\n"), "make"),
        MAKEFILE.replace("rm -rf ap\n", "rm -rf app\n"),
    ),
    Case(
        "c with carriage returns, the answer without",
        "main.c",
        C,
        block(C.replace("'", '"').replace("\r", ""), "c"),
        C.replace("'", '"'),
    ),
    Case(
        "a selection in a file with carriage returns and no end",
        "main.c",
        C[:-2],
        block('    printf("hi\\n");\n    return 0;\n}\n', "c"),
        C[:-2].replace("'hi'", '"hi\\n"'),
        (5, 7),
    ),
    Case(
        "mixed line ends stay where nothing changes",
        "mixed.txt",
        "a\r\nb\nc\r\nd\r\n",
        block("a\nb\nC\nd\n"),
        "a\r\nb\nC\r\nd\r\n",
    ),
    Case(
        "rust, a function in the middle gets longer",
        "src/lib.rs",
        RUST + "\n" + RUST.replace("first", "second") + "\n" + RUST.replace("first", "third"),
        block(OPTION),
        RUST + "\n" + OPTION + "\n" + RUST.replace("first", "third"),
        (5, 7),
    ),
    Case(
        "java, lines are only deleted",
        "src/main/java/A.java",
        JAVA,
        block(JAVA.replace("\n    int x;\n", "").replace("return x", "return 0;")),
        JAVA.replace("\n    int x;\n", "").replace("return x", "return 0;"),
    ),
    Case(
        "Unicode in the code, in the path, and characters that other tools end lines at",
        "исходники/имя файла.py",
        "имя = 'Ёж'  # \u2028 \x0c \x85\nprint(имя)\r\nprint('🙂')\n",
        block("имя = 'Ёж'  # \u2028 \x0c \x85\nprint(имя)\nprint('🙂', имя)\n", "python"),
        "имя = 'Ёж'  # \u2028 \x0c \x85\nprint(имя)\r\nprint('🙂', имя)\n",
    ),
    Case(
        "a byte order mark, which models drop",
        "a.cs",
        "\ufeffusing System;\nclass A { int x }\n",
        block("using System;\nclass A { int x; }\n"),
        "\ufeffusing System;\nclass A { int x; }\n",
    ),
    Case(
        "an empty file with instructions",
        "hello.py",
        "",
        block("print('hello')\nprint('world')\n", "python"),
        "print('hello')\nprint('world')\n",
        instructions="Greet the world.",
    ),
    Case(
        "markdown with blocks of its own, in a longer fence",
        "README.md",
        MARKDOWN,
        block(MARKDOWN.replace("sevre", "serve"), "markdown", "````"),
        MARKDOWN.replace("sevre", "serve"),
    ),
    Case(
        "many hunks in a long file",
        "values.py",
        LONG,
        block(LONG.replace("= 7\n", "= 70\n").replace("= 200\n", "= 201\n").replace("value_399 = 399\n", "")),
        LONG.replace("= 7\n", "= 70\n").replace("= 200\n", "= 201\n").replace("value_399 = 399\n", ""),
    ),
    Case(
        "yaml, a line deep inside, and blank lines at the end that came back without",
        ".ci/run.yml",
        YAML + "\n\n",
        block("- run: make test\n"),
        YAML.replace("tset", "test") + "\n\n",
        (4, 6),
    ),
    Case(
        "the block stands in a list, indented",
        "a.py",
        "def f():\n    return 1\n",
        "1. Return two:\n\n   ```python\n   def f():\n       return 2\n   ```\n",
        "def f():\n    return 2\n",
    ),
    Case(
        "a name with a quote and a backslash",
        'of"the\ttests"/na\\me.py',
        "a = 1\n",
        block("a = 2\n"),
        "a = 2\n",
    ),
    Case(
        "thinking that no parser took away has blocks too",
        "a.py",
        "a = 1\n",
        "<think>\nPerhaps\n```\na = 3\n```\n</think>\n" + block("a = 2\n"),
        "a = 2\n",
    ),
)
