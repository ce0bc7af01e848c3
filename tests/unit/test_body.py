"""Request bodies: what is too much of them."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from kodify.api import body
from kodify.api.body import BIG_BYTES, MOST_LEVELS, SMALL_BYTES, parse_json
from kodify.errors import BadRequestError


def complaint(caught: pytest.ExceptionInfo[BadRequestError]) -> Any:
    (one,) = ast.literal_eval(caught.value.message)
    return one


def nested(levels: int, **beside: Any) -> bytes:
    """`levels` of containers, lists and objects in turn."""
    pairs, odd = divmod(levels - 1, 2)
    inside = '{"a":[' * pairs + ("{}" if odd else "") + "]}" * pairs
    return (json.dumps({"padding": 0, **beside})[:-1] + f', "deep": {inside or 0}}}').encode()


PADDING = {"code": "{[" * 500, "long": "x" * SMALL_BYTES, "flat": list(range(5000)), "wide": [[{}]] * 1000}


@pytest.mark.parametrize("beside", [{}, *({name: value} for name, value in PADDING.items())])
def test_a_body_has_a_depth(beside: dict[str, Any]) -> None:
    for levels in (2, MOST_LEVELS - 1, MOST_LEVELS):
        assert parse_json(nested(levels, **beside))["deep"] is not None
    for levels in (MOST_LEVELS + 1, MOST_LEVELS + 2, 900, 100_000):
        with pytest.raises(BadRequestError, match=r"nested|recursion|depth"):
            parse_json(nested(levels, **beside))


@pytest.mark.parametrize(("name", "most"), [("messages", 10_000), ("tools", 1_024)])
def test_a_list_has_a_length(name: str, most: int) -> None:
    assert len(parse_json(json.dumps({name: [{}] * most}).encode())[name]) == most
    with pytest.raises(BadRequestError, match=f"^{name} has more than {most} items.$") as caught:
        parse_json(json.dumps({name: [{}] * (most + 1)}).encode())
    assert caught.value.param == name


NO_OBJECTS: list[Any] = [
    None,
    1.5,
    "it's",
    [],
    [1, True, None, "a", [[], {}], {"b": {"c": [2]}, "d": "e"}],
    ["x" * 1000],
    list(range(5000)),
    [[[["deep"] * 50] * 50] * 50],
    [{str(number): [number] for number in range(1000)}],
]


@pytest.mark.parametrize("value", NO_OBJECTS)
def test_what_is_no_object_is_told_with_its_beginning(value: Any) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_json(json.dumps(value).encode())
    told = complaint(caught)
    assert told["type"] == "model_attributes_type"
    assert told["input"] == repr(value)[:100]


def test_a_deep_list_is_no_object_either() -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_json(b"[" * 1000 + b"]" * 1000)
    told = complaint(caught)
    assert told["input"] == "[" * 100


class Unwritten:
    """A list's last item, which nobody is to look at."""

    def __repr__(self) -> str:
        raise AssertionError("it was written")


def test_a_large_list_is_not_written_as_a_whole() -> None:
    assert body._beginning([*range(1000), Unwritten()]) == repr(list(range(1000)))[:100]


@pytest.mark.parametrize("broken", ["[1,]", '"\\ud800"', "NaN", "1 1", "1e400"])
def test_a_big_body_that_is_no_json_is_not_parsed_twice(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_parse_again", lambda data: pytest.fail("it was"))
    with pytest.raises(BadRequestError) as caught:
        parse_json(b'{"padding": "%b", "a": %b}' % (b"x" * BIG_BYTES, broken.encode()))
    told = complaint(caught)
    assert told["type"] == "json_invalid"
    assert told["loc"][1] > BIG_BYTES
    assert told["ctx"]["error"]
