"""The OpenAPI document as a page that needs nothing from outside: no script, and its one style known by its digest."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

LONGEST = 300  # characters of a description
STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5b6675;--line:#dfe4ea;--paper:#fff;--box:#f6f8fa;--mark:#0b63c4;
--get:#1a7f4b;--post:#0b63c4;--delete:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e3e8ee;--soft:#98a3b1;--line:#303a46;--paper:#12171d;--box:#1a2129;
--mark:#6cb0ff;--get:#5fd39a;--post:#6cb0ff;--delete:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{margin:0 0 .25rem;font-size:1.7rem}h2{margin:2.2rem 0 .6rem;font-size:1.15rem}
p{margin:.4rem 0;color:var(--soft)}a{color:var(--mark)}
code{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
nav a{margin-right:1rem}
details{border:1px solid var(--line);border-radius:8px;margin:.45rem 0;background:var(--box)}
summary{cursor:pointer;padding:.5rem .8rem;display:flex;flex-wrap:wrap;gap:.3rem .7rem;align-items:baseline}
summary::-webkit-details-marker{display:none}
summary .what{color:var(--soft);flex:1 1 18rem}
details>div{padding:.2rem .8rem .8rem;border-top:1px solid var(--line)}
.method{font-weight:700;min-width:4rem}.get{color:var(--get)}.post{color:var(--post)}.delete{color:var(--delete)}
.scope{border:1px solid var(--line);border-radius:99px;padding:0 .55rem;font-size:12px;color:var(--soft)}
h3{font-size:.95rem;margin:.8rem 0 .2rem}
table{border-collapse:collapse;width:100%;font-size:14px}
td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600}td:first-child{white-space:nowrap}
.must{color:var(--delete)}
""".strip()
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def render(document: dict[str, Any]) -> str:
    info = document["info"]
    shapes = document["components"]["schemas"]
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, told in operations.items():
            groups.setdefault(told["tags"][0], []).append("".join(_operation(method, path, told, shapes)))
    links = "".join(f'<a href="#{escape(name.lower())}">{escape(name)}</a>' for name in (*groups, "Shapes"))
    sections = "".join(
        f'<h2 id="{escape(name.lower())}">{escape(name)}</h2>{"".join(found)}' for name, found in groups.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Kodify: API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body><main>'
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        '<p>Send a token as <code>Authorization: Bearer …</code> or <code>x-api-key</code>. '
        'For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"<nav>{links}</nav>{sections}"
        f'<h2 id="shapes">Shapes</h2>{"".join(_shape(name, shapes[name]) for name in sorted(shapes))}'
        "</main></body></html>"
    )  # fmt: skip


def _operation(method: str, path: str, told: dict[str, Any], shapes: dict[str, Any]) -> Iterator[str]:
    yield (
        f'<details id="{escape(told["operationId"])}"><summary><code class="method {method}">{method.upper()}</code>'
        f'<code>{escape(path)}</code><span class="what">{escape(told["summary"])}</span>'
        f'<span class="scope">{escape(told["x-scope"])}</span></summary><div>'
    )
    if parameters := told.get("parameters"):
        yield "<h3>Parameters</h3>"
        required = [one["name"] for one in parameters if one["required"]]
        yield _fields({one["name"]: one["schema"] for one in parameters}, required)
    for media, content in told.get("requestBody", {}).get("content", {}).items():
        yield f"<h3>Body <code>{escape(media)}</code></h3>"
        schema = content.get("schema")  # a file has none
        for each in [] if schema is None else schema.get("anyOf", [schema]):
            name = str(each.get("$ref", "")).rsplit("/", 1)[-1]
            yield (f"<p>{_type(each)}</p>" if name else "") + _body(shapes.get(name, each))
    yield "<h3>Answers</h3><table>"
    for status, answer in told["responses"].items():
        media = ", ".join(answer.get("content", {}))
        yield (
            f"<tr><td><code>{status}</code></td><td>{escape(answer['description'])}</td>"
            f"<td><code>{escape(media)}</code></td></tr>"
        )
    yield "</table></div></details>"


def _shape(name: str, schema: dict[str, Any]) -> str:
    """A link to what is inside opens it."""
    what = escape(_short(schema.get("description", "")))
    return (
        f'<details><summary><code>{escape(name)}</code><span class="what">{what}</span>'
        f'</summary><div id="shape-{escape(name)}">{_body(schema)}</div></details>'
    )


def _body(schema: dict[str, Any]) -> str:
    if "properties" not in schema:
        return f"<p>{_type(schema)}</p>"
    return _fields(schema["properties"], schema.get("required", ()))


def _fields(fields: dict[str, Any], required: Any) -> str:
    rows = []
    for name, schema in fields.items():
        about = schema if isinstance(schema, dict) else {}
        must = ' <span class="must">required</span>' if name in required else ""
        default = about.get("default")
        told = _short(about.get("description", "")) + (f" Default: {default!r}." if default not in (None, "") else "")
        rows.append(
            f"<tr><td><code>{escape(name)}</code>{must}</td><td>{_type(about)}</td><td>{escape(told.strip())}</td></tr>"
        )
    return f"<table><tr><th>Field</th><th>Type</th><th></th></tr>{''.join(rows)}</table>"


def _type(schema: Any) -> str:
    """HTML: names of shapes are links."""
    if not isinstance(schema, dict) or not schema:
        return "any"
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rsplit("/", 1)[-1])
        return f'<a href="#shape-{name}"><code>{name}</code></a>'
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " | ".join(dict.fromkeys(_type(one) for one in schema[union]))
    if "const" in schema:
        return f"<code>{escape(repr(schema['const']))}</code>"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(repr(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items'))}"
    return escape(" | ".join(kind) if isinstance(kind, list) else str(kind))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
