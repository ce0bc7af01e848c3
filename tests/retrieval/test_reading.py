"""Documents into pieces: what is cut where, and what hostile ones cost. Bounds are counted, not timed: what would take
minutes meets the test's end instead."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable, Sized

import docx
import pytest

from kodify.retrieval import chunking, office, syntax
from kodify.retrieval.base import SkippedError
from kodify.retrieval.chunking import MOST_PIECES, cut_code, cut_markdown, cut_pages, cut_text
from kodify.retrieval.markup import plain
from kodify.retrieval.office import read_docx
from kodify.retrieval.reading import read

ENDS_S = 60  # of what takes a second; it was hours


@pytest.mark.timeout(ENDS_S)
@pytest.mark.parametrize(
    "text", ["# a" + " " * 300_000 + "b", "#" + " " * 300_000, "# " + "# " * 150_000, "# a" + "#" * 300_000]
)
def test_a_heading_of_blanks_is_read_once(text: str) -> None:
    assert cut_markdown(text, 1800)


@pytest.mark.parametrize(
    ("line", "title"),
    [("# One", "One"), ("## Two ##", "Two"), ("# C#", "C#"), ("#  Three \t", "Three"), ("#no", ""), ("# # #", "#")],
)
def test_headings(line: str, title: str) -> None:
    assert [piece.title for piece in cut_markdown(f"{line}\n\ntext", 1800)] == [title]


@pytest.mark.timeout(ENDS_S)
@pytest.mark.parametrize("part", ["<a ", "<!--", "<![CDATA[", "</", "<", "&#", "<svg>", "<!", "<a x='", "<td>"])
def test_markup_that_never_ends_does(part: str) -> None:
    try:
        assert len(plain(part * 100_000)) <= len(part) * 100_000 + 2
    except SkippedError as skipped:
        assert "too deep" in str(skipped)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<html><head><title>Title</title><meta name=a><h1>Seen</h1><p>too", "# Seen\n\ntoo"),
        ("<head><style>p {}</style><p>Seen", "Seen"),
        ("<p>a<svg><text>drawn</text><p>Seen", "a\nSeen"),
        ("<svg><title>drawn</title></svg>Seen", "Seen"),
        ("<template><p>hidden</p></template>Seen<script>var a = '<p>hidden</p>'</script>", "Seen"),
        ("<table><tr><td>a<td>b<tr><th>c</table>", "a b\n\nc"),
        ("<?xml encoding='koi8-r'?><meta charset=koi8-r><h2>Мир &amp; &lt;труд&gt;</h2>", "## Мир & <труд>"),
        ("no markup at all", "no markup at all"),
        ("<!-- a remark alone -->", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_what_is_shown_of_a_page(text: str, seen: str) -> None:
    assert plain(text).strip() == seen


def test_each_line_is_in_one_part() -> None:
    line = "".join(f"function f{number}(a) {{ return a + {number} }}; " for number in range(1000))
    tracemalloc.start()
    pieces = cut_code(f"// first\n{line}\nfunction last() {{\n  return 1\n}}\n", "javascript", 1800)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(len(piece.text) for piece in pieces) < 1.1 * len(line)
    assert peak < 20_000_000
    assert pieces[-1].title == "last"
    nested = (
        "class A { a() { return 1 } b() { return 2 } }\nclass B {\n  c() { return 3 } d() {\n    return 4\n  }\n}\n"
        * 20
    )
    found = syntax.parts(nested, "javascript")
    assert found is not None
    taken = [line for part in found for start, end in part.ranges for line in range(start, end + 1)]
    assert len(taken) == len(set(taken))
    assert set(taken) >= {number for number, text in enumerate(nested.split("\n")) if text}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("sum.js", "let a = 1" + " + 1" * 3000),
        ("else.js", "if (a) {}" + " else if (a) {}\n" * 2000),
        ("else.c", "int f(void) {\n" + "if (a) {} else " * 2000 + "{}\n}\n"),
        ("open.py", "(" * 20_000),
        ("classes.java", "class A { " * 3000),
    ],
)
def test_trees_deeper_than_the_stack(name: str, code: str) -> None:
    pieces = read(name, code.encode(), 1800).pieces
    assert sum(len(piece.text) for piece in pieces) >= len(code.strip()) - len(pieces)


def test_no_more_pieces_are_made_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    original = chunking._windows

    def counting(*arguments: object) -> object:
        nonlocal made
        for piece in original(*arguments):  # type: ignore[arg-type]
            made += 1
            yield piece

    monkeypatch.setattr(chunking, "_windows", counting)
    text = "\n".join(f"# {number}\n\ntext" for number in range(3 * MOST_PIECES))
    code = "\n".join(f"def f{number}():\n    return '{'x' * 100}'" for number in range(2 * MOST_PIECES))
    cuts: tuple[Callable[[], Sized], ...] = (
        lambda: cut_markdown(text, 1800),
        lambda: cut_code(code, "python", 1800),
        lambda: cut_text("x" * 3000 * MOST_PIECES, 600),
        lambda: cut_pages(["a page"] * (MOST_PIECES + 5), 1800),
    )
    for cut in cuts:
        made = 0
        assert (len(cut()), made) == (MOST_PIECES, MOST_PIECES)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-32-be-bom", "utf-16-be-bom", "cp1251"])
def test_encodings(encoding: str) -> None:
    text = "привет, мир\nи ещё строка"
    marks = {"utf-32-be-bom": b"\0\0\xfe\xff", "utf-16-be-bom": b"\xfe\xff"}
    data = marks.get(encoding, b"") + text.encode(encoding.removesuffix("-bom"))
    assert [piece.text for piece in read("a.txt", data, 1800).pieces] == [text]


@pytest.mark.parametrize(
    "data",
    [
        "text".encode("utf-32-le"),
        b"\xff\xfe\0\0" + "text, sixteen bits each".encode("utf-16-le"),
        b"\xff\xfe" + b"\0" * 100,
        b"\0\0\xfe\xff" + bytes(range(1, 200)),
    ],
)
def test_what_is_no_text(data: bytes) -> None:
    with pytest.raises(SkippedError, match="no text"):
        read("a.txt", data, 1800)


@pytest.mark.timeout(ENDS_S)
def test_a_document_of_empty_paragraphs_is_refused() -> None:
    with pytest.raises(SkippedError, match="paragraphs"):
        read_docx(docx_of("<w:p/>" * 400_000))


@pytest.mark.timeout(ENDS_S)
def test_a_table_that_says_it_is_wide_is_as_wide_as_it_is() -> None:
    cell = '<w:tc><w:tcPr><w:gridSpan w:val="90000000"/></w:tcPr><w:p><w:r><w:t>one</w:t></w:r></w:p></w:tc>'
    rows = f"<w:tr>{cell}{cell}</w:tr>" * 50
    assert read_docx(docx_of(f"<w:tbl><w:tblGrid/>{rows}</w:tbl>"))[:2] == ["one | one", "one | one"]
    with pytest.raises(SkippedError, match="cells"):
        read_docx(docx_of(f"<w:tbl><w:tblGrid/><w:tr>{'<w:tc><w:p/></w:tc>' * (office.MOST_CELLS + 1)}</w:tr></w:tbl>"))


def test_headings_of_a_document() -> None:
    document = docx.Document()
    document.add_heading("One", 1)
    document.add_paragraph("text")
    document.add_heading("Two", 2)
    out = io.BytesIO()
    document.save(out)
    assert read_docx(out.getvalue()) == ["# One", "", "text", "", "## Two", ""]


def docx_of(body: str) -> bytes:
    out = io.BytesIO()
    docx.Document().save(out)
    made = io.BytesIO()
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    with zipfile.ZipFile(out) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if entry.filename != "word/document.xml":
                new.writestr(entry, old.read(entry))
        new.writestr("word/document.xml", f'<w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>')
    return made.getvalue()
