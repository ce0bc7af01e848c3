"""A whole text of Markdown as HTML that can do nothing but be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from kodify.markdown.code import CLASSES, Highlighter

MOST_US = 3_000_000  # that a text may take, as estimated; from there on it is shown as it was written
LINE_US, CELL_US, MARK_US, BRACKET_US, PICTURE_US, ITEM_US = 60, 50, 8, 60, 90, 40
CHARACTER_US, WORST_US = 0.2, 75  # of any character, and of the one that takes longest
LONGEST_INLINE = 50_000  # a paragraph or cell beyond it is shown as it was written
MOST_OPENERS = 500  # brackets, stars and backticks of one paragraph; looking for their ends takes the square of them
MOST_NESTED = 100
_SCHEMES = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
_LANGUAGE = re.compile(r"[\w+#.-]{1,32}")
_OPENERS = re.compile(r"[\[\]*_~`<]")
_MARKS = re.compile(r"[*_~`&!\]\\]")
_CELLS = re.compile(r"[|<]")
_ITEMS = re.compile(r"(?:[-+*]|\d[.)])[ \t]")
_SIDES = ("left", "center", "right")

_CLEANER = nh3.Cleaner(
    tags={
        *(
            "p",
            "br",
            "hr",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "em",
            "strong",
            "s",
            "a",
            "blockquote",
            "ul",
            "ol",
            "li",
        ),
        *("div", "pre", "code", "span", "table", "thead", "tbody", "tr", "th", "td"),
    },
    clean_content_tags={"script", "style"},
    attributes={"a": {"href", "title"}, "ol": {"start"}, "div": {"data-language"}},
    tag_attribute_values={
        "pre": {"tabindex": {"0"}},
        "div": {"tabindex": {"0"}},
        "th": {"align": set(_SIDES)},
        "td": {"align": set(_SIDES)},
    },
    allowed_classes={"div": {"code", "table"}, "code": {"highlight"}, "span": set(CLASSES)},
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow",
)


def render(text: str) -> str:
    """Never raises, whatever the text is. May take seconds for a megabyte: a long text belongs in a thread."""
    text = text.replace("\0", "\ufffd")
    end = _affordable(text)
    html = _CLEANER.clean(_MARKDOWN.render(text[:end], {"highlighter": Highlighter()}))
    return html if end == len(text) else f'{html}<pre tabindex="0">{escape(text[end:])}</pre>\n'


def _affordable(text: str) -> int:
    """How many characters are worth being read as Markdown: a table of a million cells is not, nor are lists in lists
    in lists, nor brackets that nobody closes."""
    if len(text) * WORST_US < MOST_US:
        return len(text)
    spent, end = 0.0, 0
    for line in text.splitlines(keepends=True):
        spent += LINE_US + CHARACTER_US * len(line)
        spent += CELL_US * len(_CELLS.findall(line)) + MARK_US * len(_MARKS.findall(line))
        spent += BRACKET_US * line.count("[") + PICTURE_US * line.count("![") + ITEM_US * len(_ITEMS.findall(line))
        if spent > MOST_US:
            break
        end += len(line)
    return end


class _Renderer(RendererHTML):
    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        found = _LANGUAGE.match(tokens[idx].info.strip())
        return _code(tokens[idx].content, found.group().lower() if found else "", env)

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return _code(tokens[idx].content, "", env)

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A link: a page that loads it would tell another host who reads."""
        token = tokens[idx]
        address = escape(str(token.attrGet("src") or ""))
        name = escape(self.renderInlineAsText(token.children, options, env) or str(token.attrGet("src") or ""))
        is_in_link = sum(one.nesting for one in tokens[:idx] if one.tag == "a") > 0
        return name if is_in_link else f'<a href="{address}">{name}</a>'

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return '<div class="table" tabindex="0"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return _cell(tokens[idx])

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return _cell(tokens[idx])


def _code(content: str, language: str, env: Any) -> str:
    inner = env["highlighter"].render(content, language)
    return (
        f'<div class="code" data-language="{escape(language)}"><pre tabindex="0"><code class="highlight">{inner}'
        "</code></pre></div>\n"
    )


def _cell(token: Token) -> str:
    """The side is an attribute: our pages allow no style in an element."""
    side = str(token.attrGet("style") or "").removeprefix("text-align:")
    return f'<{token.tag} align="{side}">' if side in _SIDES else f"<{token.tag}>"


def _inline(state: StateCore) -> None:
    """In place of the parser's own rule, which takes paragraphs of any length."""
    for token in state.tokens:
        if token.type != "inline":
            continue
        token.children = token.children if token.children is not None else []
        content = token.content
        if len(content) > LONGEST_INLINE or len(_OPENERS.findall(content)) > MOST_OPENERS:
            token.children.append(Token("text", "", 0, content=content))
        else:
            state.md.inline.parse(content, state.md, state.env, token.children)


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": MOST_NESTED}, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"])
    markdown.disable(["html_block", "html_inline"])
    markdown.core.ruler.at("inline", _inline)
    markdown.validateLink = lambda url: _SCHEMES.match(url.strip()) is not None  # type: ignore[method-assign]
    return markdown


_MARKDOWN = _markdown()
