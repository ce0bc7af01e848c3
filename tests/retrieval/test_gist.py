"""What of code a model reads."""

from __future__ import annotations

import pytest

from kodify.retrieval.gist import as_words, gist


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def parse_headers(line: str) -> None:", "def parse headers line str None"),
        ("HTTPServer.readAll()", "HTTP Server read All"),
        ("__init__ = разборСтроки", "init разбор Строки"),
        ("base64.b64decode(x_2)", "base64 b64decode x 2"),
        ("{}[]();", ""),
    ],
)
def test_words_of_code(text: str, words: str) -> None:
    assert as_words(text) == words


def test_place_signature_and_docstring_come_first() -> None:
    code = 'def f(a, b):\n    """Adds two numbers.\n\n    Slowly."""\n    return a + b'
    assert gist("lib/sums.py", "f", code) == "lib sums f def f a b Adds two numbers Slowly return a b"


def test_a_long_body_is_not_read_to_its_end() -> None:
    body = "\n".join(f"    x{number} = call({number})" for number in range(500))
    for code in (f"def f():\n{body}", f'def f():\n    """Says what it does, briefly."""\n{body}'):
        found = gist("a.py", "f", code)
        assert found.startswith("a f def f")
        assert "x0 call 0" in found
        assert len(found) < 450


def test_a_string_far_below_is_no_docstring() -> None:
    code = "def f():\n" + "    y()\n" * 100 + "    '''A template that stands far below.'''"
    assert "template" not in gist("a.py", "f", code)


def test_comments_before_a_function_are_read() -> None:
    code = "// Adds two numbers, slowly.\nfunc Add(a, b int) int {\n\treturn a + b\n}"
    assert gist("sum/add.go", "Add", code) == "sum add Add Adds two numbers slowly func Add a b int int return a b"
