"""The OpenAPI document and its page: every route, the shapes that read the bodies, nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route, WebSocketRoute

from kodify.api.docs_page import STYLE, render
from kodify.api.openapi import build
from kodify.api.operations import OPERATIONS
from kodify.app import ROUTES
from kodify.protocol.bodies import SHAPES
from tests.api.test_errors import assert_error
from tests.conftest import Serve, Served, eventually
from tests.fuzz.mutations import FORM_BODIES, JSON_BODIES

BODILESS = {"/v1/health", "/api/v1/chat/{chat_id}/stop", "/disable_all_expired", "/delete_all_disabled"}


@pytest.fixture
def served(serve: Serve) -> Served:
    found = serve()
    eventually(lambda: bool(found.app.state.ready))
    return found


@pytest.fixture
def document(served: Served) -> dict[str, Any]:
    with served.client() as client:
        answer = client.get("/openapi.json")
        assert answer.headers["content-type"] == "application/json"
        found: dict[str, Any] = answer.json()
        assert client.get("/openapi.json").json() == found
    return found


def routes() -> dict[tuple[str, str], Any]:
    found = {}
    for route in ROUTES:
        if isinstance(route, WebSocketRoute):
            continue  # the document has no word for them
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            found[method, route.path_format] = route.endpoint
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def schema_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    """Of the JSON body of a POST, with what it refers to."""
    schema: dict[str, Any] = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return {**schema, "components": document["components"]}


def check(document: dict[str, Any]) -> None:
    """It is valid, and every well-formed body fits it."""
    OpenAPIV31SpecValidator(document).validate()
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known
    for path, bodies in JSON_BODIES.items():
        schema = schema_of(document, path)
        Draft202012Validator.check_schema(schema)
        for body in bodies:
            assert list(Draft202012Validator(schema).iter_errors(body)) == [], (path, body)


def test_it_is_valid_and_fits_the_bodies_that_clients_send(document: dict[str, Any]) -> None:
    check(document)


def test_every_route_is_there_and_no_more(document: dict[str, Any]) -> None:
    told = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    assert told == set(routes())
    assert set(OPERATIONS) == set(routes()), "kodify/api/operations.py has a row for each route"


SIGN_INS = {("POST", "/token"), ("POST", "/session")}
LIMITED_UNTIL_ITS_END = ("POST", "/api/v1/chat/{chat_id}/send_message")


def test_scopes_security_and_errors_are_the_routes(document: dict[str, Any]) -> None:
    for (method, path), guarded in routes().items():
        told = document["paths"][path][method.lower()]
        is_public = guarded.scope == "public"
        assert told["x-scope"] == guarded.scope
        assert told["security"] == ([] if is_public else [{"bearer": []}, {"x-api-key": []}])
        statuses = set(told["responses"])
        assert ("401" in statuses) == (not is_public or (method, path) in SIGN_INS)
        assert ("403" in statuses) == (guarded.scope == "admin" or (method, path) == ("POST", "/session"))
        assert ("429" in statuses) == (guarded.limited or (method, path) in {*SIGN_INS, LIMITED_UNTIL_ITS_END})
        for status, answer in told["responses"].items():
            if int(status) >= 400:
                assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_every_post_tells_its_body(document: dict[str, Any]) -> None:
    for path, found in document["paths"].items():
        if "post" in found and path not in BODILESS:
            content = found["post"]["requestBody"]["content"]
            kind = "application/x-www-form-urlencoded" if path in FORM_BODIES else "application/json"
            assert list(content) == [kind], path


def test_streams_are_told(document: dict[str, Any]) -> None:
    streamed = {
        path
        for path, found in document["paths"].items()
        for told in found.values()
        if any("text/event-stream" in answer.get("content", ()) for answer in told["responses"].values())
    }
    assert {"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/infill"} <= streamed
    assert not streamed & {"/v1/embeddings", "/tokenize", "/v1/models"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "m"}),
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": 1}]}),
        ("/v1/embeddings", {"input": [1.5]}),
        ("/infill", {"input_prefix": "a"}),
        ("/v1/events", {"type": "other", "completion_id": "c"}),
        ("/detokenize", {"tokens": ["a"]}),
    ],
)
def test_what_is_refused_does_not_fit(document: dict[str, Any], path: str, body: dict[str, Any]) -> None:
    assert list(Draft202012Validator(schema_of(document, path)).iter_errors(body))


def test_an_error_has_the_documented_shape(served: Served, document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["Error"]
    with served.client() as client:
        for path in ("/v1/chat/completions", "/v1/messages", "/token", "/users/me"):
            answer = client.post(path, content=b"[") if path != "/users/me" else client.get(path)
            assert answer.status_code >= 400
            assert list(Draft202012Validator(schema).iter_errors(answer.json())) == []


class OneMore:
    """An engine that tells shapes of its own."""

    def shapes(self, reference: str) -> tuple[dict[str, Any], dict[str, Any]]:
        bodies: dict[str, Any] = {kind: {"$ref": reference.format(model="Odd")} for kind in SHAPES}
        return bodies, {"Odd": {"type": "object", "description": "<script>alert(1)</script>", "x": 1}}


def test_an_engines_own_shapes_are_told_and_escaped() -> None:
    document = build(ROUTES, OneMore().shapes("#/components/schemas/{model}"))
    assert schema_of(document, "/v1/messages")["$ref"] == "#/components/schemas/Odd"
    assert document["components"]["schemas"]["Odd"]["x"] == 1
    page = render(document)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


class Page(HTMLParser):
    """The page's tags, what they point at, and the ids that may be pointed at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.ids: set[str] = set()
        self.odd: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "href":
                self.links.add(value or "")
            elif name == "id":
                self.ids.add(value or "")
            elif name not in ("class", "lang", "charset", "name", "content"):
                self.odd.append((tag, name))


def test_the_page_needs_nothing_from_outside(served: Served, document: dict[str, Any]) -> None:
    with served.client() as client:
        answer = client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{style}';")
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert f"<style>{STYLE}</style>" in answer.text
    page = Page(answer.text)
    assert page.odd == []
    assert not page.tags & {"script", "link", "img", "iframe", "object", "form"}
    assert {link for link in page.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    for path in document["paths"]:
        assert f"<code>{path}</code>" in answer.text


def test_they_can_be_turned_off(serve: Serve) -> None:
    with serve(DOCS=False).client() as client:
        for path in ("/docs", "/openapi.json"):
            assert_error(client.get(path), 404, "NotFoundError")


def test_until_the_engines_run_there_is_none(served: Served) -> None:
    served.app.state.ready = False
    with served.client() as client:
        for path in ("/docs", "/openapi.json"):
            assert_error(client.get(path), 503, "ServiceUnavailableError")
