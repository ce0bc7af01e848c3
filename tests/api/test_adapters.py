"""Adapters in the house's books: whose they are, what is told of them, how a start with them fails."""

from __future__ import annotations

import asyncio

import pytest

from kodify.engine.scripted import Script, ScriptedEngine
from kodify.engines import Engines, Served
from kodify.errors import BadRequestError, ConflictError, NotFoundError


class Host(ScriptedEngine):
    """Takes adapters, but none at `bad`."""

    async def load_adapter(self, name: str, path: str) -> ScriptedEngine:
        if path == "bad":
            raise BadRequestError("It does not fit.")
        return ScriptedEngine(Script(), names=(name,))


def start(*served: Served) -> Engines:
    engines = Engines(served)
    asyncio.run(engines.start())
    return engines


def test_the_first_model_that_takes_adapters_is_meant_where_none_is_named() -> None:
    plain, host = Served(ScriptedEngine(Script(), names=("plain",))), Served(Host(Script(), names=("host",)))
    engines = start(plain, host)
    adapter = asyncio.run(engines.load_adapter("own", "path"))
    assert adapter.parent is host
    assert adapter.preset is host.preset
    assert engines.names == ["plain", "host", "own"]
    assert engines.default("generate") is plain
    for name, model, expected in (
        ("own", None, ConflictError),
        ("plain", None, ConflictError),
        ("x", "plain", NotFoundError),
        ("x", "own", NotFoundError),
    ):
        with pytest.raises(expected):
            asyncio.run(engines.load_adapter(name, "path", model))
    asyncio.run(engines.unload_adapter("own"))
    assert engines.names == ["plain", "host"]


def test_of_two_loads_of_one_name_one_is_refused() -> None:
    engines = start(Served(Host(Script(), names=("host",))))

    async def both() -> list[object]:
        loads = (engines.load_adapter("own", "path") for _ in range(2))
        return await asyncio.gather(*loads, return_exceptions=True)

    found = asyncio.run(both())
    assert [type(one) for one in found] == [Served, ConflictError]


def test_a_model_whose_adapter_does_not_fit_does_not_start() -> None:
    with pytest.raises(BadRequestError):
        start(Served(Host(Script(), names=("host",)), adapters={"own": "bad"}))


def test_a_model_that_may_be_left_out_is_left_out_with_its_adapters() -> None:
    adapters = {"good": "path", "wrong": "bad"}
    left = Served(Host(Script(), names=("host",)), "host", adapters=adapters, required=False)
    engines = start(Served(ScriptedEngine(Script(), names=("plain",))), left)
    assert engines.names == ["plain"]
    assert left.error == "It does not fit."


def test_without_a_host_there_is_nothing_to_load_into() -> None:
    engines = start(Served(ScriptedEngine(Script())))
    with pytest.raises(NotFoundError):
        asyncio.run(engines.load_adapter("x", "path"))
    with pytest.raises(NotFoundError):
        asyncio.run(engines.unload_adapter("scripted"))
