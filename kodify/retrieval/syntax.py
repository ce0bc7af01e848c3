"""Where functions and classes stand in source code, by tree-sitter's grammars."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class _Found:
    title: str
    start: int
    end: int
    inside: tuple[_Found, ...]


def parts(text: str, language: str) -> list[Part] | None:
    """In the order of their beginnings; None where the language has no grammar here."""
    if language not in GRAMMARS or len(text) > MOST_BYTES:
        return None
    data = text.encode("utf-8", "replace")
    root = _parser(language).parse(data).root_node
    last = text.count("\n")
    whole = _Found("", 0, last, tuple(_definitions(root, "", 0)))
    return sorted(_flat(whole, text.split("\n")), key=lambda part: part.ranges[0])


def _flat(found: _Found, lines: list[str]) -> Iterator[Part]:
    own, at = [], found.start
    for inner in found.inside:
        if inner.start > at:
            if sum(len(line.strip()) for line in lines[at : inner.start]) < SCRAP_CHARACTERS:
                inner = replace(inner, start=at)
            else:
                own.append((at, inner.start - 1))
        at = max(at, inner.end + 1)
        yield from _flat(inner, lines)
    if at <= found.end:
        own.append((at, found.end))
    if own:
        yield Part(found.title, tuple(own))


def _definitions(node: Node, above: str, depth: int) -> Iterator[_Found]:
    """The outermost ones below `node`; comments right above one are its own."""
    leading: int | None = None
    previous_end = -1
    for child in node.named_children:
        start, end = child.start_point[0], child.end_point[0]
        if child.type in COMMENTS:
            if leading is None or start > previous_end + 1:
                leading = start
            previous_end = end
            continue
        if leading is not None and start > previous_end + 1:
            leading = None
        begin = start if leading is None else leading
        leading, previous_end = None, end
        core = _core(child)
        if core is None:
            yield from _definitions(child, above, depth) if child.type not in _LEAVES else ()
            continue
        title = ".".join(filter(None, (above, _name(core))))
        inside: tuple[_Found, ...] = ()
        if core.type in HOLDERS and depth < MOST_DEPTH:
            inside = tuple(_definitions(core, title, depth + 1))
        yield _Found(title, begin, end, inside)


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
