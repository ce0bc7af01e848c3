"""Markdown into HTML: what it shows, and that nothing of it can do anything."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kodify.markdown import html as rendering
from kodify.markdown import render
from kodify.markdown.code import CLASSES, MOST_CHARACTERS

TAGS = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "em", "strong", "s", "a", "blockquote", "ul", "ol", "li"),
    *("div", "pre", "code", "span", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    ("a", "href"), ("a", "title"), ("a", "rel"), ("ol", "start"), ("div", "class"), ("div", "data-language"),
    ("div", "tabindex"), ("pre", "tabindex"), ("code", "class"), ("span", "class"), ("th", "align"), ("td", "align"),
}  # fmt: skip


class Reader(HTMLParser):
    """Takes note of every element; fails at the first that may not be there."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert (tag, name) in ATTRIBUTES, (tag, name)
            if name == "href":
                assert value is not None
                assert value.startswith(("http://", "https://", "mailto:", "HTTP", "Http")), value
                self.links.append(value)
            if (tag, name) == ("span", "class"):
                assert value in CLASSES
        if tag == "a":
            assert ("rel", "noopener noreferrer nofollow") in attrs

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Hello, *you* and **all**", "<p>Hello, <em>you</em> and <strong>all</strong></p>"),
        ("a\nb  \nc", "<p>a\nb<br>\nc</p>"),
        ("# One", "<h1>One</h1>"),
        ("`x < y`", "<p><code>x &lt; y</code></p>"),
        ("~~no~~", "<p><s>no</s></p>"),
        ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>'),
        (
            "[x](https://example.org 't')",
            '<p><a href="https://example.org" title="t" rel="noopener noreferrer nofollow">x</a></p>',
        ),
        (
            "![plan](https://example.org/a.png)",
            '<p><a href="https://example.org/a.png" rel="noopener noreferrer nofollow">plan</a></p>',
        ),
        ("example.org and https://example.org", "<p>example.org and https://example.org</p>"),
        (
            "```Python\nx = 1\n```",
            '<div class="code" data-language="python"><pre tabindex="0"><code class="highlight"><span class="n">x'
            '</span> <span class="o">=</span> <span class="mi">1</span>\n</code></pre></div>',
        ),
        (
            "```\n<b>\n```",
            '<div class="code" data-language=""><pre tabindex="0"><code class="highlight">&lt;b&gt;\n</code>'
            "</pre></div>",
        ),
        (
            "|a|b|\n|:-:|-|\n|1|2|",
            '<div class="table" tabindex="0"><table>\n<thead>\n<tr>\n<th align="center">a</th>\n<th>b</th>\n</tr>\n'
            '</thead>\n<tbody>\n<tr>\n<td align="center">1</td>\n<td>2</td>\n</tr>\n</tbody>\n</table></div>',
        ),
    ],
)
def test_markdown_is_shown(text: str, html: str) -> None:
    assert render(text).strip() == html


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](<java\nscript:alert(1)>)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox)",
    "[x](file:///etc/passwd)",
    "[x](/admin)",
    "[x](//example.org)",
    "[x][y]\n\n[y]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    '[x](https://example.org "a\\" onmouseover=alert(1) \\"")',
    '![" onerror="alert(1)](https://example.org)',
    '```html"onload=alert(1)\n<b>\n```',
    "```<script>\n</code></pre><script>alert(1)</script>\n```",
    "`</code><script>alert(1)</script>`",
    "|<img src=x onerror=alert(1)>|\n|-|\n|</td></table><script>|",
    "<!-- x --><![CDATA[ y ]]><?php z ?>",
    "</div></main><form action=https://example.org><input>",
    "<style>*{display:none}</style>",
    "<base href=https://example.org>",
    "\x00<\x00script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "[![x](https://a.example/b.png)](https://c.example)",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_hostile_is_only_text(text: str) -> None:
    reader = read(render(text))
    assert not any("javascript" in link.lower() for link in reader.links)


def test_a_page_is_told_nothing_by_a_text_that_closes_its_elements() -> None:
    assert render("</div>\n\n</body>").count("</div>") == 0


pieces = st.one_of(
    st.sampled_from(
        [*HOSTILE, "\n\n", "\n", "- ", "> ", "    ", "```", "~~~py\n", "|", "|-|\n", "*", "_", "[", "]", "("]
    ),
    st.text(max_size=10),
)


@given(st.lists(pieces, max_size=20).map("".join))
@example("[" * 3000)
@example("> " * 3000)
def test_whatever_is_written_only_what_may_be_is_there(text: str) -> None:
    read(render(text))


LARGE = {
    "one line": "a" * 1_000_000,
    "brackets": "[" * 1_000_000,
    "paragraphs of brackets": ("![[" * 600 + "\n\n") * 500,
    "stars": "*a " * 300_000,
    "backticks": (" ".join("`" * (i % 60) for i in range(60)) + "\n\n") * 500,
    "quotes": "> " * 500_000,
    "lists": "- " * 500_000,
    "deeper and deeper": "\n".join("  " * i + "- a" for i in range(1000)),
    "a wide table": "|" + "a|" * 5000 + "\n|" + "-|" * 5000 + "\n" + "|a\n" * 5000,
    "a long table": "|a|b|\n|-|-|\n" + "|1|2|\n" * 160_000,
    "a large table": "|" + "a|" * 100 + "\n|" + "-|" * 100 + "\n" + ("|" + "b|" * 100 + "\n") * 5000,
    "code": "```python\n" + "x = [1]\n" * 60_000,
    "definitions": "".join(f"[a{i}]: http://x/{i}\n" for i in range(30_000)),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.timeout(60)  # without the bounds each of several would take minutes
def test_a_megabyte_of_anything_is_shown(name: str) -> None:
    read(render(LARGE[name]))


def test_what_is_too_long_for_markdown_is_shown_as_it_was_written() -> None:
    text = "|a|b|\n|-|-|\n" + "|1|2|\n" * 100_000 + "**the end**\n"
    html = render(text)
    assert "<td>1</td>" in html
    assert html.endswith("|1|2|\n**the end**\n</pre>\n")


def test_deep_lists_keep_their_words() -> None:
    text = "\n".join("  " * i + f"- word{i}" for i in range(30))
    assert "word29" in render(text)


def test_much_code_stays_plain() -> None:
    much = "x = 1\n" * (MOST_CHARACTERS // 6 + 1)
    first, second = render(f"```python\nx = 1\n```\n\n```python\n{much}```").split("</pre>")[:2]
    assert "<span" in first
    assert "<span" not in second


@pytest.mark.parametrize("language", ["", "no-such-language", "c++", "C#", "shell", "diff", "<b>"])
def test_any_language_may_be_named(language: str) -> None:
    assert read(render(f"```{language}\na < b\n```")).text.strip() == "a < b"


@pytest.mark.parametrize(
    ("unit", "most"),
    [("[" * 400 + "\n\n", 125), ("![" * 200 + "\n\n", 95), ("- " * 40 + "a\n", 1800), ("*a " * 400 + "\n\n", 900)],
    ids=["brackets", "pictures", "lists in lists", "stars"],
)
def test_what_takes_the_parser_long_is_read_as_far_as_three_seconds_go(unit: str, most: int) -> None:
    """Measured: 10, 28, 1.4 and 2.4 ms each."""
    read = rendering._affordable(unit * 20_000)
    assert 0 < read <= most * len(unit)


def test_long_plain_answers_are_read_to_their_end() -> None:
    line = "A sentence with *emphasis*, `code` and a [link](https://example.com), as answers have them.\n"
    assert rendering._affordable(line * 10_000) == len(line) * 10_000
