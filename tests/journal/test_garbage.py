"""A request's memory is free when the request has ended: nothing of it waits for the garbage collector, which may take
hundreds of requests to come by, and a body may have megabytes."""

from __future__ import annotations

import gc
import http.client
import json
import socket
import types
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from kodify.engine.scripted import Script, ScriptedEngine
from kodify.journal import Record
from kodify.settings import Settings
from tests.conftest import Served, eventually, serving
from tests.fuzz.mutations import ADDRESSES, JSON_BODIES, MODEL
from tests.fuzz.strict import strict_engines
from tests.journal.conftest import make_place

pytestmark = pytest.mark.alone

TIMES = 5
# What holds a request's body, or whoever does.
HEAVY = (RequestResponseCycle, types.FrameType, BaseException, Record)
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}

Ask = tuple[str, bytes]
WRONG: dict[str, Ask] = {
    "no JSON": ("/v1/chat/completions", b"{"),
    "no object": ("/v1/chat/completions", b"[]"),
    "an unknown model": ("/v1/chat/completions", json.dumps({**CHAT, "model": "absent"}).encode()),
    "a wrong field": ("/v1/chat/completions", json.dumps({**CHAT, "max_tokens": "many"}).encode()),
    "a wrong completion": ("/v1/completions", b'{"prompt": 5}'),
    "a wrong message": ("/v1/messages", b'{"messages": 5}'),
    "a wrong response": ("/v1/responses", b'{"input": 5}'),
    "a wrong text": ("/tokenize", b'{"prompt": 5}'),
    "wrong inputs": ("/v1/embeddings", b'{"input": {"a": 5}}'),
    "a wrong hole": ("/infill", b'{"input_prefix": 5}'),
    "an unknown path": ("/nowhere", b"{}"),
    "a method too many": ("/health", b"{}"),
}
GOOD: dict[str, Ask] = {
    f"{path} {number}": (ADDRESSES.get(path, path), json.dumps(body).encode())
    for path, bodies in JSON_BODIES.items()
    for number, body in enumerate(bodies)
}


@pytest.fixture(autouse=True, scope="module")
def what_there_is_already() -> Iterator[None]:
    """Is not looked at each time: other tests have left a large heap."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=["journal", "none"], scope="module")
def own_settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(_env_file=None)
    if request.param == "none":
        return settings
    place = make_place(request.getfixturevalue("postgres"), tmp_path_factory.mktemp("garbage"))
    given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    return settings.model_copy(update={given[key]: value for key, value in place.variables.items()})


@pytest.fixture(scope="module")
def served(own_settings: Settings) -> Iterator[Served]:
    with serving(own_settings, strict_engines()) as found:
        eventually(lambda: bool(found.app.state.ready))
        yield found


@pytest.fixture(scope="module")
def endless(own_settings: Settings) -> Iterator[Served]:
    with serving(own_settings, ScriptedEngine(Script(endless=True, pause_s=0.01), names=(MODEL,))) as found:
        eventually(lambda: bool(found.app.state.ready))
        yield found


def left_behind(act: Callable[[], object]) -> Counter[str]:
    """What `act` leaves of `HEAVY` for the collector to find."""
    act()
    gc.collect()
    gc.disable()
    try:
        act()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(described(one) for one in gc.garbage if isinstance(one, HEAVY))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def described(one: Any) -> str:
    if isinstance(one, types.FrameType):
        return f"frame {one.f_code.co_filename}:{one.f_lineno} {one.f_code.co_qualname}"
    return f"{type(one).__qualname__} {one if isinstance(one, BaseException) else ''}"[:100]


@pytest.mark.parametrize("name", [*WRONG, *GOOD])
def test_a_request_that_ended_is_free(served: Served, name: str) -> None:
    path, body = {**WRONG, **GOOD}[name]
    connection = http.client.HTTPConnection("127.0.0.1", int(served.url.rsplit(":", 1)[1]), timeout=20)

    def ask() -> None:
        for _ in range(TIMES):
            connection.request("POST", path, body)
            answer = connection.getresponse()
            assert answer.status >= 400 or name not in WRONG
            answer.read()
        eventually(lambda: not served.app.state.running)

    try:
        assert left_behind(ask) == Counter()
    finally:
        connection.close()


LEFT: dict[str, Ask] = {
    "a stream": ("/v1/chat/completions", json.dumps({**CHAT, "stream": True}).encode()),
    "a whole answer": ("/v1/chat/completions", json.dumps(CHAT).encode()),
    "a hole": ("/infill", b'{"input_prefix": "a", "input_suffix": "b"}'),
    "an editor's": ("/v1/completions", b'{"language": "python", "segments": {"prefix": "a", "suffix": "b"}}'),
    "a completion": ("/v1/completions", json.dumps({"model": MODEL, "prompt": "a", "stream": True}).encode()),
}


@pytest.mark.parametrize("name", LEFT)
def test_a_request_whose_client_left_is_free(endless: Served, name: str) -> None:
    path, body = LEFT[name]
    running = endless.app.state.running

    def ask() -> None:
        for _ in range(TIMES):
            with socket.create_connection(("127.0.0.1", int(endless.url.rsplit(":", 1)[1])), timeout=20) as connection:
                connection.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\n" % path.encode())
                connection.sendall(b"content-length: %d\r\n\r\n%b" % (len(body), body))
                eventually(lambda: bool(running))
            eventually(lambda: not running)

    assert left_behind(ask) == Counter()
