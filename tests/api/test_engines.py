"""Several engines in one app: who answers for which name, how they start, what they tell together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kodify.engine.scripted import Script, ScriptedEngine
from kodify.engines import Engines, Served, merge_metrics
from kodify.errors import ConfigError, NotFoundError, UnavailableError
from kodify.settings import Settings
from tests import conftest
from tests.conftest import eventually

Start = Callable[[Engines], conftest.Served]


class Named(ScriptedEngine):
    """Says its name; breaks at the start where it is told to."""

    def __init__(self, *names: str, error: Exception | None = None) -> None:
        super().__init__(Script(pieces=(f"I am {names[0]}",)), names=names)
        self.error = error
        self.stopped = 0

    async def start(self) -> None:
        if self.error is not None:
            raise self.error
        await super().start()

    async def stop(self) -> None:
        self.stopped += 1
        await super().stop()

    def metrics(self) -> bytes:
        return f'# HELP a_total All.\n# TYPE a_total counter\na_total{{model="{self.names[0]}"}} 1.0\n'.encode()


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def serve(engines: Engines) -> conftest.Served:
            served = stack.enter_context(conftest.serving(settings, engines))
            eventually(lambda: bool(served.app.state.ready))
            return served

        yield serve


def test_a_request_goes_to_the_engine_of_its_model(start: Start) -> None:
    served = start(Engines([Served(Named("coder", "alias")), Served(Named("talker"))], "talker"))
    with served.client() as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["coder", "alias", "talker"]
        for name, who in (("coder", "coder"), ("alias", "coder"), ("talker", "talker"), ("", "coder")):
            for path, body in (
                ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
                ("/v1/completions", {"prompt": "x"}),
            ):
                text = client.post(path, json={"model": name, **body}).text
                assert f"I am {who}" in text
        assert client.post("/v1/completions", json={"model": "other", "prompt": "x"}).status_code == 404
        assert client.get("/ready").json()["models"] == ["coder", "alias", "talker"]
        completion = {"segments": {"prefix": "x = ", "filepath": "a.py"}}
        assert "I am talker" in client.post("/v1/completions", json=completion).text
        assert client.get("/v1/health").json()["model"] == "talker"
        infill = {"input_prefix": "x = ", "input_suffix": ""}
        assert "I am talker" in client.post("/infill", json=infill).text
        assert "I am coder" in client.post("/infill", json={**infill, "model": "coder"}).text


def test_what_is_told_of_all(start: Start) -> None:
    served = start(Engines([Served(Named("coder")), Served(Named("talker"))]))
    with served.client() as client:
        families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    assert {sample.labels["model"] for sample in families["a"].samples} == {"coder", "talker"}


def test_one_that_is_not_required_is_left_out(start: Start) -> None:
    broken = Named("broken", error=ConfigError("no such file"))
    served = start(Engines([Served(Named("coder")), Served(broken, "broken", required=False)]))
    with served.client() as client:
        ready = client.get("/ready").json()
        assert (ready["models"], ready["left_out"]) == (["coder"], {"broken": "no such file"})
        assert client.post("/v1/completions", json={"model": "broken", "prompt": "x"}).status_code == 404
        assert client.get("/health").status_code == 200
    assert broken.stopped == 1


async def test_one_that_is_required_stops_the_start() -> None:
    engines, told = Engines([Served(Named("a"), "a"), Served(Named("b", error=ConfigError("no")), "b")]), list[str]()
    with pytest.raises(ConfigError):
        await engines.start(told.append)
    assert told == ["a", "b"]


async def test_nothing_of_a_kind() -> None:
    engines = Engines([Served(Named("a"))])
    await engines.start()
    with pytest.raises(NotFoundError):
        engines.default("embed")
    engines.all[0].runs = False
    with pytest.raises(UnavailableError):
        engines.default("generate")


def test_metrics_of_one_are_as_they_are() -> None:
    assert merge_metrics([b"# HELP x y\nx 1\n"]) == b"# HELP x y\nx 1\n"
