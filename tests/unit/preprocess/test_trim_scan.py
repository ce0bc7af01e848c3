"""A text at once and character by character: the scanner comes out the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kodify.preprocess.languages import find_language
from kodify.preprocess.trim_scan import Scanner

NAMES = ("python", "c", "javascript", "shellscript", "html", "lua", "sql")
PIECES = st.sampled_from(
    ["(", ")", "{", "}", "[", "]", '"', "'", "`", '"""', "\\", "\n", " ", "\t", "    ", "#", "//", "/*", "*/", "--",
     "<!--", "-->", "a", "word", "=", ";", ":", "é", "\u2028", "\r", "don't", "f'"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=60), st.sampled_from(NAMES))
def test_run_is_feed_for_each_character(pieces: list[str], name: str) -> None:
    text, language = "".join(pieces), find_language(name)
    slow, quick = Scanner(language, []), Scanner(language, [])
    expected = []
    for at, character in enumerate(text):
        closer = slow.feed(character)
        if closer:
            expected.append((at, closer, slow.indent))
            slow.close(closer)
    found = []
    for at, closer in quick.run(text):
        found.append((at, closer, quick.indent))
        quick.close(closer)
    assert found == expected
    assert quick == slow
