"""Where functions and classes stand in source code, by tree-sitter's grammars."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

# language: the package, its function where it is not `language`.
GRAMMARS: dict[str, tuple[str, str]] = {
    "python": ("tree_sitter_python", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "javascriptreact": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "typescriptreact": ("tree_sitter_typescript", "language_tsx"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "csharp": ("tree_sitter_c_sharp", "language"),
    "go": ("tree_sitter_go", "language"),
    "java": ("tree_sitter_java", "language"),
    "php": ("tree_sitter_php", "language_php"),
    "ruby": ("tree_sitter_ruby", "language"),
    "rust": ("tree_sitter_rust", "language"),
}
FUNCTIONS = frozenset(
    {
        "function_definition", "function_declaration", "generator_function_declaration", "method_definition",
        "method_declaration", "constructor_declaration", "destructor_declaration", "operator_declaration",
        "compact_constructor_declaration", "method", "singleton_method", "function_item", "macro_definition",
        "function_signature_item",
    }
)  # fmt: skip
HOLDERS = frozenset(
    {
        "class_definition", "class_declaration", "abstract_class_declaration", "interface_declaration",
        "enum_declaration", "record_declaration", "struct_declaration", "class_specifier", "struct_specifier",
        "namespace_definition", "namespace_declaration", "internal_module", "class", "module", "impl_item",
        "trait_item", "mod_item", "struct_item", "enum_item", "trait_declaration", "annotation_type_declaration",
        "type_declaration",
    }
)  # fmt: skip
# Stand around a definition, and belong to it.
WRAPPERS = frozenset({"decorated_definition", "export_statement", "template_declaration", "ambient_declaration"})
COMMENTS = frozenset({"comment", "line_comment", "block_comment", "attribute_item", "decorator"})
SCRAP_CHARACTERS = 100  # between two definitions: put to the second
MOST_DEPTH = 12  # of holders in holders
MOST_BYTES = 2 * 1024 * 1024  # beyond it is generated, and is cut as a text


@dataclass(frozen=True, slots=True)
class Part:
    """`ranges`: its lines, from 0, both ends included, without those of parts inside it."""

    title: str
    ranges: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Found:
    title: str
    start: int
    end: int
    inside: list[_Found] = field(default_factory=list)


@dataclass(slots=True)
class _Level:
    """A node whose children are being looked at: one of these each, for trees are deeper than Python's stack."""

    children: Iterator[Node]
    above: str
    depth: int  # of holders
    found: list[_Found]
    leading: int | None = None  # where comments begin that belong to what comes next
    previous_end: int = -1


def parts(text: str, language: str) -> list[Part] | None:
    """In the order of their beginnings; None where the language has no grammar here."""
    if language not in GRAMMARS or len(text) > MOST_BYTES:
        return None
    data = text.encode("utf-8", "replace")
    whole = _Found("", 0, text.count("\n"))
    _look(_parser(language).parse(data).root_node, whole.inside)
    return sorted(_flat(whole, text.split("\n"), 0), key=lambda part: part.ranges[0])


def _flat(found: _Found, lines: list[str], first: int) -> Iterator[Part]:
    """`first`: the first line that no other part has. What stands whole on a line of another is a part of that one."""
    own: list[tuple[int, int]] = []
    at = max(found.start, first)
    for inner in found.inside:
        if inner.end < at:
            continue
        start = inner.start
        if start > at:
            if sum(len(line.strip()) for line in lines[at:start]) < SCRAP_CHARACTERS:
                inner.start = at
            else:
                own.append((at, start - 1))
        yield from _flat(inner, lines, max(at, inner.start))
        at = inner.end + 1
    if at <= found.end:
        own.append((at, found.end))
    if own:
        yield Part(found.title, tuple(own))


def _look(root: Node, found: list[_Found]) -> None:
    """For the outermost definitions; comments right above one are its own."""
    levels = [_Level(iter(root.named_children), "", 0, found)]
    while levels:
        level = levels[-1]
        child = next(level.children, None)
        if child is None:
            levels.pop()
            continue
        start, end = child.start_point[0], child.end_point[0]
        if child.type in COMMENTS:
            if level.leading is None or start > level.previous_end + 1:
                level.leading = start
            level.previous_end = end
            continue
        adjoins = level.leading is not None and start <= level.previous_end + 1
        begin = level.leading if adjoins and level.leading is not None else start
        level.leading, level.previous_end = None, end
        core = _core(child)
        if core is None:
            if child.type not in _LEAVES:
                levels.append(_Level(iter(child.named_children), level.above, level.depth, level.found))
            continue
        one = _Found(".".join(filter(None, (level.above, _name(core)))), begin, end)
        level.found.append(one)
        if core.type in HOLDERS and level.depth < MOST_DEPTH:
            levels.append(_Level(iter(core.named_children), one.title, level.depth + 1, one.inside))


_LEAVES = frozenset({"string", "call", "assignment", "parenthesized_expression", "array", "object", "dictionary"})


def _core(node: Node) -> Node | None:
    """The definition that the node is, or wraps."""
    for _ in range(3):
        if node.type in FUNCTIONS or node.type in HOLDERS:
            return node if node.end_point[0] > node.start_point[0] or node.child_by_field_name("body") else None
        if node.type in ("lexical_declaration", "variable_declaration"):
            return _function_variable(node)
        if node.type not in WRAPPERS or not node.named_children:
            return None
        node = node.named_children[-1]
    return None


def _function_variable(node: Node) -> Node | None:
    """`const f = () => …` of JavaScript."""
    for child in node.named_children:
        value = child.child_by_field_name("value")
        if value is not None and value.type in ("arrow_function", "function_expression", "function"):
            return child
    return None


def _name(node: Node) -> str:
    found = node.child_by_field_name("name") or node.child_by_field_name("type")
    inner = node.child_by_field_name("declarator")
    for _ in range(8):  # C's declarators stand in one another
        if found is not None or inner is None:
            break
        if inner.type in ("identifier", "field_identifier", "qualified_identifier", "destructor_name", "operator_name"):
            found = inner
        inner = inner.child_by_field_name("declarator")
    if found is None and node.type == "type_declaration" and node.named_children:
        found = node.named_children[0].child_by_field_name("name")
    text = found.text if found is not None else None
    return text.decode("utf-8", "replace").split("\n")[0][:120] if text is not None else ""


@cache
def _parser(language: str) -> Parser:
    from tree_sitter import Language, Parser

    package, function = GRAMMARS[language]
    return Parser(Language(getattr(importlib.import_module(package), function)()))
