"""vLLM's errors into ours: the documented form, whatever was sent, and logs without a word of it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

from kodify.engine import vllm_errors
from kodify.engine.base import Progress
from kodify.engine.vllm_errors import missing, translate
from kodify.engine.vllm_serving import _translated
from kodify.errors import BadRequestError, EngineFailedError


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    n: int = 1
    items: list[int | bool] = []
    said: str = ""

    @field_validator("said")
    @classmethod
    def _is_short(cls, said: str) -> str:
        if len(said) > 3:
            raise ValueError(f"too long: {said}")
        return said


def refusal(body: Any) -> BadRequestError:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate(body)
    found = translate(caught.value, from_request=True)
    assert isinstance(found, BadRequestError)
    return found


def test_the_documented_form() -> None:
    found = refusal({"n": "gh"})
    message = "Input should be a valid integer, unable to parse string as an integer"
    complaint = {"type": "int_parsing", "loc": ("body", "n"), "msg": message, "input": "gh"}
    assert (found.message, found.param) == (str([complaint]), "n")


def test_no_more_than_five_are_told() -> None:
    found = refusal({"items": ["x"] * 100})
    assert (found.message.count("'type'"), found.param) == (5, "items")


@pytest.mark.parametrize("count", [501, 100_000])
def test_the_list_of_very_many_is_not_made(count: int) -> None:
    """Two for each item: of an integer and of a boolean."""
    found = refusal({"items": ["x"] * count})
    assert found.message == f"The request's fields are not of the expected types: {2 * count} errors."
    assert found.param is None


@pytest.mark.parametrize(
    "value",
    [
        5,
        "it's",
        "both \" and '",
        {},
        [],
        [[], {}],
        {"a": [1, 2.5, None, True, {"b": "c"}], "\n": ""},
        "x" * 498,
        {"a": "x" * 483, "b": 1},
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_small_input_is_shown_as_it_is(value: Any) -> None:
    assert len(repr(value)) <= vllm_errors.MAX_INPUT_CHARACTERS
    assert missing("f", value).message.endswith(f"'input': {value!r}}}]")
    assert vllm_errors._shortened(value) == value


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "value",
    ["x" * 499, {"a": "x" * 490, "b": 1}, {"k" * 600: 1}, list(range(10**6)), nested(900)],
    ids=lambda value: type(value).__name__,
)
def test_of_a_large_input_the_start_is_shown(value: Any) -> None:
    shown = vllm_errors._shortened(value)
    assert shown == repr(value)[:500] + "…"


def test_only_the_start_of_a_large_input_is_looked_at() -> None:
    class Item(int):
        def __repr__(self) -> str:
            looked.append(self)
            return super().__repr__()

    looked: list[int] = []
    vllm_errors._shortened([Item(1)] * 10_000)
    assert 0 < len(looked) < 500


def test_a_name_of_the_bodys_own_is_cut() -> None:
    found = refusal({"k" * 10_000: 1})
    assert found.param == "k" * 200
    assert len(found.message) < 2000


@pytest.mark.parametrize(
    "said",
    [{"said": "the canary sang"}, {"said": ["the canary sang"]}, {"items": ["the canary sang"] * 2000}],
    ids=["a validator's own words", "another type", "very many"],
)
def test_what_the_model_said_is_not_logged(said: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Body).validate_python(said)
    assert "canary" in str(caught.value)
    with caplog.at_level(logging.DEBUG):
        found = _translated(caught.value, "messages", Progress(first_at=1.0))
    assert isinstance(found, EngineFailedError)
    assert "ValidationError" in caplog.text
    assert " at said" in caplog.text or "4000 errors" in caplog.text
    assert "canary" not in caplog.text
