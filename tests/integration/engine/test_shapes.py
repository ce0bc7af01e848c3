"""The OpenAPI document with the shapes of vLLM's own models."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from kodify.api.docs_page import render
from kodify.api.openapi import build
from kodify.api.operations import HOUSE
from kodify.app import ROUTES
from kodify.engine.vllm_shapes import shapes
from kodify.protocol.bodies import SHAPES
from tests.api.test_openapi import check, schema_of
from tests.fuzz.mutations import JSON_BODIES


@pytest.fixture(scope="module")
def told() -> tuple[dict[str, Any], dict[str, Any]]:
    return shapes("#/components/schemas/{model}")


@pytest.fixture(scope="module")
def document(told: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return build(ROUTES, told)


def test_it_is_valid_and_fits_the_bodies_that_clients_send(document: dict[str, Any]) -> None:
    check(document)
    assert len(render(document)) > 50_000


def test_the_same_kinds_are_told_as_where_an_engine_tells_none(told: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert set(told[0]) == set(SHAPES)
    own = {prefix + shape.__name__ for shape, prefix in HOUSE.values()}
    assert not own & set(told[1])
    alone = build(ROUTES, ({kind: {} for kind in SHAPES}, {}))["components"]["schemas"]
    assert not set(alone) & set(told[1])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/detokenize"])
def test_what_lacks_its_text_does_not_fit(document: dict[str, Any], path: str) -> None:
    body = {name: value for name, value in JSON_BODIES[path][0].items() if name in ("model", "max_tokens")}
    assert list(Draft202012Validator(schema_of(document, path)).iter_errors(body))


def test_what_the_house_takes_beyond_vllms_models(document: dict[str, Any]) -> None:
    for path, body in (
        ("/v1/chat/completions", {"model": "m", "messages": "hi"}),
        ("/v1/completions", {"model": "m", "prompt": "a", "suffix": "b", "deadline_ms": 500}),
    ):
        assert list(Draft202012Validator(schema_of(document, path)).iter_errors(body)) == []
