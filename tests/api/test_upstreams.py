"""Models of other servers: what is handed on, what comes back, and when one of them is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from kodify.config_file import CensorEntry, ConfigFile
from kodify.engine import upstream_requests
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.engine.upstream import UpstreamEngine
from kodify.engine.upstream_pool import UpstreamOptions
from kodify.engine.upstream_texts import MOST_VALUES
from kodify.engine.upstream_vocabulary import TextVocabulary
from kodify.engines import Engines, Served
from kodify.errors import UnavailableError
from kodify.preprocess.presets import PRESETS, read_preset
from kodify.settings import Settings
from tests import conftest
from tests.conftest import Serve, eventually, free_port, leave

HI: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def text(content: str, finish_reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": {"content": content}, "finish_reason": finish_reason, **more}
    return {"choices": [choice]}


def usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}


HELLO = (text("Hello"), text(" world"), text("", "stop"), usage(7, 4))

SPOKEN = (
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/tokenize",
    "/detokenize",
    "/v1/embeddings",
)


class Puppet:
    """Another server in a thread: says `chunks`, holding before those after `held`, or answers what `refusal` is."""

    def __init__(self, *chunks: dict[str, Any]) -> None:
        self.chunks = chunks or HELLO
        self.whole: dict[str, Any] = {}  # said where no stream is asked for, and chunks are no answer
        self.refusal: Callable[[], Response] | None = None
        self.held = len(self.chunks)
        self.go_on = threading.Event()
        self.paths: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.well = True
        self.left = 0
        self.running = 0
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread

    def start(self) -> None:
        routes = [
            Route("/health", self._health),
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._answer, methods=["POST"]),
            Route("/v1/completions", self._answer, methods=["POST"]),
            *(Route(path, self._speak, methods=["POST"]) for path in SPOKEN),
        ]
        config = uvicorn.Config(Starlette(routes=routes), port=self.port, log_config=None, ws="none", lifespan="off")
        self._server = uvicorn.Server(config)

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve()

        self._thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
        self._thread.start()
        eventually(lambda: self._server.started)

    def die(self) -> None:
        """Every connection breaks, none is taken."""

        def cut() -> None:
            for listener in self._server.servers:
                listener.close()
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            self._server.should_exit = self._server.force_exit = True

        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(cut)
            self._thread.join(30)

    async def _health(self, request: Request) -> Response:
        return Response(status_code=200 if self.well else 503)

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": "m", "max_model_len": 2048}]})

    async def _answer(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        self.headers.append(request.headers)
        if self.refusal is not None:
            return self.refusal()
        if not self.bodies[-1]["stream"]:
            return JSONResponse(self.chunks[0])
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _speak(self, request: Request) -> Response:
        """In a dialect, whose events have names."""
        self.paths.append(request.url.path)
        self.bodies.append(await request.json())
        self.headers.append(request.headers)
        if self.refusal is not None:
            return self.refusal()
        if self.bodies[-1].get("stream"):
            return StreamingResponse(self._named(), media_type="text/event-stream")
        return StreamingResponse(self._said([orjson.dumps(self.whole)]), media_type="application/json")

    def _named(self) -> AsyncIterator[bytes]:
        return self._said(
            [f"event: {one['type']}\ndata: ".encode() + orjson.dumps(one) + b"\n\n" for one in self.chunks]
        )

    async def _said(self, pieces: list[bytes], end: bytes = b"") -> AsyncIterator[bytes]:
        self.running += 1
        whole = False
        try:
            for position, piece in enumerate(pieces):
                while position >= self.held and not self.go_on.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                yield piece
            whole = True
            if end:
                yield end
        finally:
            self.running -= 1
            self.left += not whole

    def _events(self) -> AsyncIterator[bytes]:
        frames = [b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in self.chunks]
        return self._said([b": comments are nothing\n\n" + frames[0], *frames[1:]], b"data: [DONE]\n\n")


Start = Callable[..., Puppet]
Front = Callable[..., conftest.Served]


@pytest.fixture
def puppet() -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def start(*chunks: dict[str, Any]) -> Puppet:
            made = Puppet(*chunks)
            made.start()
            stack.callback(made.die)
            return made

        yield start


@pytest.fixture
def front(settings: Settings) -> Iterator[Front]:
    """Kodify before the upstreams."""
    with contextlib.ExitStack() as stack:

        def start(*upstreams: Puppet | UpstreamOptions, **variables: Any) -> conftest.Served:
            markers = variables.pop("markers", ())
            options = [one if isinstance(one, UpstreamOptions) else UpstreamOptions(one.url) for one in upstreams]
            engine = UpstreamEngine(options, markers=markers)
            served = stack.enter_context(conftest.serving(settings.model_copy(update=variables), engine))
            eventually(lambda: bool(served.app.state.ready))
            return served

        yield start


def frames(answer: str) -> list[dict[str, Any]]:
    found = [line.removeprefix("data: ") for line in answer.split("\n\n") if line]
    assert found.pop() == "[DONE]"
    return [json.loads(frame) for frame in found]


def upstream_metrics(client: httpx.Client, name: str) -> dict[str, float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {sample.labels["upstream"]: sample.value for sample in samples if sample.name == name}


def test_a_whole_answer(puppet: Start, front: Front) -> None:
    other = puppet(*HELLO[:3], usage(7, 4, prompt_tokens_details={"cached_tokens": 3}))
    with front(other).client() as client:
        answer = client.post("/v1/chat/completions", json=HI).json()
        assert client.get("/v1/models").json()["data"][0]["max_model_len"] == 2048
    assert answer["choices"][0]["message"]["content"] == "Hello world"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 4,
        "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    assert answer["model"] == "m"


@pytest.mark.parametrize("asked", [True, False])
def test_usage_is_told_in_a_stream_where_it_is_asked_for(puppet: Start, front: Front, asked: bool) -> None:
    other = puppet()
    options = {"stream_options": {"include_usage": True}} if asked else {}
    with front(other).client() as client:
        found = frames(client.post("/v1/chat/completions", json={**HI, "stream": True, **options}).text)
    assert "".join(c["delta"].get("content", "") for f in found for c in f["choices"]) == "Hello world"
    told = [frame["usage"] for frame in found if frame.get("usage")]
    assert [(one["prompt_tokens"], one["completion_tokens"]) for one in told] == ([(7, 4)] if asked else [])
    assert other.bodies[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("stream", [True, False])
def test_tool_calls_reasoning_and_logprobs_are_passed_on(puppet: Start, front: Front, stream: bool) -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.5}]}
    call = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "f", "arguments": ""}}
    other = puppet(
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"index": 0, "delta": {"reasoning": "m"}}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [token]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}}]},
        text("", "tool_calls", stop_reason=5),
        usage(7, 9),
    )
    with front(other).client() as client:
        answer = client.post("/v1/chat/completions", json={**HI, "stream": stream, "logprobs": True})
    if stream:
        choices = [choice for frame in frames(answer.text) for choice in frame["choices"]]
        deltas = [choice["delta"] for choice in choices]
        calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        assert calls[0]["id"] == "call-1"
        told = "".join(call["function"]["arguments"] for call in calls)
        reasoning = "".join(delta.get("reasoning_content", "") for delta in deltas)
        logprobs = [choice["logprobs"] for choice in choices if choice["logprobs"]]
        last = choices[-1]
    else:
        (last,) = answer.json()["choices"]
        (call,) = last["message"]["tool_calls"]
        assert (call["id"], call["function"]["name"]) == ("call-1", "f")
        told, reasoning = call["function"]["arguments"], last["message"]["reasoning_content"]
        logprobs = [last["logprobs"]]
    assert (told, reasoning) == ('{"x":1}', "hmm")
    (position,) = logprobs[0]["content"]
    assert (position["token"], position["logprob"], position["top_logprobs"][0]["token"]) == ("a", -0.5, "b")
    assert (last["finish_reason"], last["stop_reason"]) == ("tool_calls", 5)


def test_the_first_event_comes_while_the_upstream_holds_the_rest(puppet: Start, front: Front) -> None:
    other = puppet()
    other.held = 1
    with (
        front(other).client() as client,
        client.stream("POST", "/v1/chat/completions", json={**HI, "stream": True}) as answer,
    ):
        events = answer.iter_lines()
        assert any("Hello" in line for line in events)
        assert other.running == 1
        other.go_on.set()
        assert list(events)[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_upstream(puppet: Start, front: Front, stream: bool) -> None:
    other = puppet()
    other.held = 1
    served = front(other)
    if stream:
        with (
            served.client() as client,
            client.stream("POST", "/v1/chat/completions", json={**HI, "stream": True}) as answer,
        ):
            assert any("Hello" in line for line in answer.iter_lines())
    else:
        leave(served.url, "/v1/chat/completions", HI, lambda: other.running == 1)
    eventually(lambda: other.left == 1)
    eventually(lambda: served.engine.running() == 0)
    assert other.running == 0


REFUSALS = [
    (400, {"error": {"message": "too long", "param": "messages", "code": 400}}, {}, 400, "too long"),
    (400, {"object": "error", "message": "too warm", "code": 400}, {}, 400, "too warm"),
    (422, {"detail": [{"msg": "no"}]}, {}, 400, "[{'msg': 'no'}]"),
    (401, {"error": "who are you"}, {}, 503, UnavailableError.default_message),
    (403, {"error": "you may not"}, {}, 503, UnavailableError.default_message),
    (404, {"message": "no such model"}, {}, 404, "no such model"),
    (413, {"message": "too much"}, {}, 413, "too much"),
    (429, {"error": {"message": "slow down"}}, {"retry-after": "17"}, 429, "slow down"),
    (500, {"error": {"message": "a trace"}}, {}, 500, "The engine failed to complete the request."),
    (503, {"error": {"message": "loading"}}, {"retry-after": "8"}, 503, UnavailableError.default_message),
    (200, {"choices": [{"index": 5}]}, {}, 503, "The server that was answering has stopped. Please try again"),
]


@pytest.mark.parametrize(("status", "body", "headers", "answered", "message"), REFUSALS)
def test_what_an_upstream_refuses(
    puppet: Start, front: Front, status: int, body: Any, headers: dict[str, str], answered: int, message: str
) -> None:
    other = puppet()
    other.refusal = lambda: JSONResponse(body, status, headers)
    with front(other).client() as client:
        answer = client.post("/v1/chat/completions", json={**HI, "stream": True})
    found = answer.json()
    assert (answer.status_code, found["message"], found["error"]["code"]) == (answered, message, answered)
    if headers:
        assert answer.headers["retry-after"] == headers["retry-after"]


def test_an_error_within_a_stream(puppet: Start, front: Front) -> None:
    other = puppet(text("Hello"), {"error": {"message": "out of memory", "code": 500}})
    with front(other).client() as client:
        said, error = client.post("/v1/chat/completions", json={**HI, "stream": True}).text.strip().split("\n\n")[-2:]
    assert "Hello" in said
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == 500
    assert "out of memory" not in error


def test_what_can_not_be_read_is_an_error(puppet: Start, front: Front) -> None:
    for chunk in (text("x", index=3), {"choices": "none"}, text("x", logprobs={"content": [{}]})):
        with front(puppet(chunk)).client() as client:
            assert client.post("/v1/chat/completions", json=HI).status_code == 500


def test_an_upstream_that_dies_amid_a_stream(puppet: Start, front: Front) -> None:
    first, second = puppet(), puppet()
    first.held = 1
    with front(first, second).client() as client:
        with client.stream("POST", "/v1/chat/completions", json={**HI, "stream": True}) as answer:
            events = answer.iter_lines()
            assert any("Hello" in line for line in events)
            first.die()
            told = [line for line in events if line]
        assert "[DONE]" not in told[-1]
        assert json.loads(told[-1].removeprefix("data: "))["error"]["code"] == 503
        answer = client.post("/v1/chat/completions", json={**HI, "stream": True})
        assert "world" in answer.text
        assert upstream_metrics(client, "kodify_upstream_up") == {first.url: 0, second.url: 1}
        assert upstream_metrics(client, "kodify_upstream_failures_total")[first.url] == 1
        assert client.get("/health").status_code == 200


def test_a_whole_answer_is_begun_again_on_another(puppet: Start, front: Front) -> None:
    first, second = puppet(), puppet()
    first.held = 1
    with front(first, second).client() as client, ThreadPoolExecutor() as threads:
        waiting = threads.submit(client.post, "/v1/chat/completions", json=HI)
        eventually(lambda: first.running == 1)
        first.die()
        answer = waiting.result(30)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello world"


def test_nothing_is_lost_when_one_of_two_dies(puppet: Start, front: Front) -> None:
    first, second = puppet(), puppet()
    with front(first, second).client() as client:

        def ask(number: int) -> str:
            if number == 200:
                first.die()
            return str(client.post("/v1/chat/completions", json=HI).json()["choices"][0]["message"]["content"])

        said = [ask(number) for number in range(500)]
    assert said == ["Hello world"] * 500
    assert 50 < len(first.bodies) <= 200


def test_the_least_busy_one_is_taken(puppet: Start, front: Front) -> None:
    first, second = puppet(), puppet()
    first.held = second.held = 1
    with front(first, second).client() as client, ThreadPoolExecutor() as threads:
        waiting = []
        for count in range(1, 5):
            waiting.append(threads.submit(client.post, "/v1/chat/completions", json=HI))
            eventually(lambda count=count: first.running + second.running == count)  # type: ignore[misc]
        assert (first.running, second.running) == (2, 2)
        assert upstream_metrics(client, "kodify_upstream_running") == {first.url: 2, second.url: 2}
        second.go_on.set()
        eventually(lambda: upstream_metrics(client, "kodify_upstream_running")[second.url] == 0)
        second.go_on.clear()
        for count in (1, 2):
            waiting.append(threads.submit(client.post, "/v1/chat/completions", json=HI))
            eventually(lambda count=count: second.running == count)  # type: ignore[misc]
        assert first.running == 2
        first.go_on.set()
        second.go_on.set()
        assert {answer.result(30).status_code for answer in waiting} == {200}


def test_one_that_comes_back_is_taken_again(puppet: Start, front: Front) -> None:
    other = puppet()
    with front(other).client() as client:
        other.die()
        refused = client.post("/v1/chat/completions", json=HI)
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "ServiceUnavailableError")
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/health").status_code == 503
        assert client.get("/v1/models").json()["data"][0]["id"] == "m"
        other.start()
        eventually(lambda: client.get("/health").status_code == 200)
        assert client.post("/v1/chat/completions", json=HI).status_code == 200


def test_one_that_says_it_is_not_well_is_left_out(puppet: Start, front: Front) -> None:
    first, second = puppet(), puppet()
    first.well = False
    with front(first, second).client() as client:
        for _ in range(3):
            assert client.post("/v1/chat/completions", json=HI).status_code == 200
        assert (len(first.bodies), len(second.bodies)) == (0, 3)
        first.well = True
        eventually(lambda: upstream_metrics(client, "kodify_upstream_up")[first.url] == 1)
        for _ in range(2):
            client.post("/v1/chat/completions", json=HI)
    assert (len(first.bodies), len(second.bodies)) == (1, 4)


@pytest.mark.parametrize(("status", "left_out"), [(404, False), (429, False), (500, False), (503, True), (401, True)])
def test_another_one_is_asked(puppet: Start, front: Front, status: int, left_out: bool) -> None:
    first, second = puppet(), puppet()
    first.refusal = lambda: JSONResponse({}, status)
    with front(first, second).client() as client:
        first.well = not left_out  # it stays out
        assert "world" in client.post("/v1/chat/completions", json={**HI, "stream": True}).text
        assert upstream_metrics(client, "kodify_upstream_up")[first.url] == int(not left_out)


def test_a_request_that_kills_is_not_tried_everywhere(puppet: Start, front: Front) -> None:
    others = [puppet() for _ in range(5)]
    for other in others:
        other.refusal = lambda: Response(status_code=500)
    with front(*others).client() as client:
        assert client.post("/v1/chat/completions", json=HI).status_code == 500
    assert sum(len(other.bodies) for other in others) == 3


def test_silence_has_an_end(puppet: Start, front: Front) -> None:
    other = puppet()
    other.held = 1
    with front(UpstreamOptions(other.url, idle_timeout_s=0.2)).client() as client:
        answer = client.post("/v1/chat/completions", json={**HI, "stream": True})
    assert '"code":503' in answer.text.strip().split("\n\n")[-1]


def test_what_is_sent(puppet: Start, front: Front) -> None:
    other = puppet({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}, usage(3, 1))
    served = front(UpstreamOptions(f"{other.url}/v1/", api_key="secret"))
    sent: list[dict[str, Any]] = [
        {"model": "m", "prompt": "a", "suffix": "b", "max_tokens": 5, "top_k": 3, "extra": {"deep": [1, None]}},
        {"model": "m", "prompt": [1, 2, 3], "echo": True, "max_tokens": 0},
        {"model": "", "prompt": "a", "n": 1, "temperature": 0},
    ]
    with served.client(authorization="Bearer mine") as client:
        for body in sent:
            answer = client.post("/v1/completions", json=body)
            assert answer.json()["choices"][0]["text"] == "x"
    options = {"include_usage": True, "continuous_usage_stats": True}
    added = {"n": 1, "stream": True, "stream_options": options, "model": "m"}
    assert other.bodies == [{**body, **added} for body in sent]
    assert {headers["authorization"] for headers in other.headers} == {"Bearer secret"}


def test_prompt_logprobs_are_asked_for_in_a_whole_answer(puppet: Start, front: Front) -> None:
    prompt = [None, {"5": {"logprob": -1.0, "rank": 1, "decoded_token": "b"}}]
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}
    other = puppet({**usage(2, 1), "choices": [choice], "prompt_logprobs": prompt})
    with front(other).client() as client:
        answer = client.post("/v1/chat/completions", json={**HI, "prompt_logprobs": 1}).json()
    assert answer["prompt_logprobs"] == prompt
    assert other.bodies[0]["stream"] is False


def test_the_best_of_some(puppet: Start, front: Front) -> None:
    def said(index: int, logprob: float) -> dict[str, Any]:
        logprobs = {"tokens": ["x"], "token_logprobs": [logprob], "top_logprobs": [{}], "text_offset": [0]}
        return {"choices": [{"index": index, "text": str(index), "logprobs": logprobs, "finish_reason": "stop"}]}

    other = puppet(said(0, -3.0), said(1, -1.0), said(2, -2.0), usage(1, 3))
    body = {"model": "m", "prompt": "a", "n": 2, "best_of": 3, "temperature": 1}
    with front(other).client() as client:
        answer = client.post("/v1/completions", json=body).json()
    assert [choice["text"] for choice in answer["choices"]] == ["1", "2"]
    assert answer["choices"][0]["logprobs"] is None
    assert (other.bodies[0]["n"], "best_of" in other.bodies[0]) == (3, False)


BAD = [
    ({"messages": []}, "model"),
    ({"model": "m"}, "messages"),
    ({**HI, "temperature": "hot"}, "temperature"),
    ({**HI, "temperature": 3}, "temperature"),
    ({**HI, "n": 1000}, "n"),
    ({**HI, "model": "other"}, "model"),
]


@pytest.mark.parametrize(("body", "param"), BAD)
def test_what_is_refused_here(puppet: Start, front: Front, body: dict[str, Any], param: str) -> None:
    other = puppet()
    with front(other).client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["param"]) == (404 if param == "model" and "model" in body else 400, param)
    assert other.bodies == []


def test_an_editor_s_completion(puppet: Start, front: Front) -> None:
    """Without a preset the text before the cursor; with a configured one its form, markers in the text parted."""
    chunks = ({"choices": [{"index": 0, "text": "1 + 2", "finish_reason": "stop"}]}, usage(9, 3))
    body = {"language": "python", "segments": {"prefix": "# <|fim_middle|>\nx = ", "suffix": "\nprint(x)\n"}}
    other = puppet(*chunks)
    with front(other).client() as client:
        assert client.post("/v1/completions", json=body).json()["choices"][0]["text"] == "1 + 2"
    assert other.bodies[0]["prompt"] == "# <|fim_middle|>\nx = "
    path = PRESETS / "qwen.json"
    preset = read_preset(path)
    names = [*preset.tokens, *preset.stop, *((preset.repo.file, preset.repo.name or "") if preset.repo else ())]
    with front(other, preset_path=str(path), markers=names).client() as client:
        assert client.post("/v1/completions", json=body).json()["choices"][0]["text"] == "1 + 2"
    parted = "# <\u200b|fim_middle|>\nx = "
    assert other.bodies[1]["prompt"] == f"{preset.prefix}{parted}{preset.suffix}\nprint(x)\n{preset.middle}"
    assert set(preset.markers) <= set(other.bodies[1]["stop"])
    assert other.bodies[1]["stop_token_ids"] is None


def test_a_vocabulary_of_text() -> None:
    vocabulary = TextVocabulary(("<a>",))
    for sample in ("", "x", "\x00y", "Привет, 😀!", "<b>"):
        assert vocabulary.decode(vocabulary.encode_plain(sample)) == sample
    marker = vocabulary.token_id("<a>")
    assert marker is not None
    assert vocabulary.decode([marker, *vocabulary.encode_plain("<a>")]) == "<a><\u200ba>"
    assert not vocabulary.is_text([0, 151_000])
    assert vocabulary.decode([2**62, 2**60 + 2**21 - 1, 7]) == ""


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("stream", [True, False])
def test_one_kodify_behind_another(serve: Serve, front: Front, path: str, stream: bool) -> None:
    behind = serve(Script(pieces=("Good", " ", "day")))
    body = {"model": "scripted", "n": 2, "stream": stream, "stream_options": {"include_usage": True}}
    body |= {"prompt": "hello"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "hello"}]}
    with behind.client() as directly, front(UpstreamOptions(behind.url)).client() as client:
        answers = [one.post(path, json=body).text for one in (client, directly)]
    told = [frames(answer) if stream else [json.loads(answer)] for answer in answers]
    for frame in (*told[0], *told[1]):
        frame["id"] = frame["created"] = None
    if stream:  # whether the choices' ends come each with its last text is left to the server

        def said(found: list[dict[str, Any]], index: int) -> str:
            choices = [choice for frame in found for choice in frame["choices"] if choice["index"] == index]
            assert choices[-1]["finish_reason"] == "stop"
            return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in choices)

        assert [said(told[0], index) for index in (0, 1)] == [said(told[1], index) for index in (0, 1)]
        assert told[0][-1] == told[1][-1]
    else:
        assert told[0] == told[1]


def test_only_the_models_that_are_named(puppet: Start, front: Front) -> None:
    first, second = puppet(), puppet()
    with front(UpstreamOptions(first.url, models=("other",)), second).client() as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["m"]
        assert client.post("/v1/chat/completions", json=HI).status_code == 200
    assert (len(first.bodies), len(second.bodies)) == (0, 1)


async def test_the_text_of_a_chat_is_known() -> None:
    """To whoever checks prompts."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = {"id": "1", "type": "function", "function": {"name": "run", "arguments": "rm"}}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "look"}, picture]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    job = upstream_requests.chat_job(upstream_requests.parse_chat({**HI, "messages": messages}), "1", "m")
    assert [prompt.text for prompt in job.prompts] == ["Be kind.\nlook\n1\nrun\nrm"]


SAID_TO_MODEL: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "data: the secret"}]},
    {"messages": [{"role": "the secret", "content": "hi"}]},
    {"messages": [{"role": "tool", "tool_call_id": "the secret", "content": "hi"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "of": {"url": "data:secret"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "image_url": {"url": "data:secret"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,the secret"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "the secret"}}]}]},
    {"tools": [{"type": "function", "function": {"name": "run", "description": "the secret"}}]},
    {"tools": [{"type": "function", "function": {"name": "run", "parameters": {"properties": {"secret": {}}}}}]},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": ["secret"]}}}},
    {"documents": [{"title": "a", "text": "the secret"}]},
    {"chat_template": "tell {{ 'the secret' }}"},
    {"chat_template_kwargs": {"note": {"deep": ["a", ["the secret"]]}}},
    {"nobody_knows": "the secret"},
]


@pytest.mark.parametrize("more", SAID_TO_MODEL)
def test_everything_that_is_sent_is_checked(
    puppet: Start, front: Front, settings: Settings, more: dict[str, Any]
) -> None:
    settings._file = ConfigFile(censor=CensorEntry(patterns=["secret"]))
    other = puppet()
    with front(other).client() as client:
        answer = client.post("/v1/chat/completions", json={**HI, **more}).json()
        assert answer["choices"][0]["finish_reason"] == "content_filter"
        assert other.bodies == []
        pictures = [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,secret"}},
            {"type": "input_audio", "input_audio": {"data": "secret", "format": "wav"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,secret"}},
        ]
        body = {**HI, "messages": [{"role": "user", "content": pictures}]}
        assert client.post("/v1/chat/completions", json=body).json()["choices"][0]["finish_reason"] == "stop"
    assert other.bodies[0]["messages"][0]["content"] == pictures


@pytest.mark.parametrize("more", [{"suffix": "the secret"}, {"nobody_knows": ["secret"]}])
def test_what_stands_beside_a_prompt_is_checked_and_not_sent_with_it(
    puppet: Start, front: Front, settings: Settings, more: dict[str, Any]
) -> None:
    settings._file = ConfigFile(censor=CensorEntry(patterns=["secret"]))
    other = puppet({"choices": [{"index": 0, "text": "1", "finish_reason": "stop"}]}, usage(9, 3))
    with front(other).client() as client:
        answer = client.post("/v1/completions", json={"model": "m", "prompt": "x", **more}).json()
        assert answer["choices"][0]["finish_reason"] == "content_filter"
        body = {"model": "m", "prompt": "x", "nobody_knows": "a", "stop": ["b"]}
        assert client.post("/v1/completions", json=body).json()["choices"][0]["finish_reason"] == "stop"
    assert [(sent["prompt"], sent["nobody_knows"], sent["stop"]) for sent in other.bodies] == [("x", "a", ["b"])]


def test_more_texts_than_can_be_checked_are_refused(puppet: Start, front: Front) -> None:
    other = puppet()
    with front(other).client() as client:
        answer = client.post("/v1/chat/completions", json={**HI, "nobody_knows": [[]] * MOST_VALUES})
        assert (answer.status_code, answer.json()["type"]) == (400, "BadRequestError")
        body = {**HI, "nobody_knows": [1] * MOST_VALUES, "logit_bias": {str(token): 1 for token in range(MOST_VALUES)}}
        assert client.post("/v1/chat/completions", json=body).status_code == 200


def test_logprobs_do_not_tell_what_the_censor_holds(puppet: Start, front: Front, settings: Settings) -> None:
    """An upstream holds its text for a stop string, not its logprobs."""
    settings._file = ConfigFile(censor=CensorEntry(patterns=["the secret is"]))
    words = ["Well,", " now", " the", " secret", " is", " out", " and", " about"]

    def position(word: str) -> dict[str, Any]:
        return {"content": [{"token": word, "logprob": -1.0, "top_logprobs": []}]}

    other = puppet(*(text("", logprobs=position(word)) for word in words), text("".join(words), "stop"), usage(7, 8))
    body = {**HI, "stream": True, "logprobs": True, "stop": ["x" * 1000]}
    with front(other).client() as client:
        told = client.post("/v1/chat/completions", json=body).text
    assert "secret" not in told
    assert frames(told)[-1]["choices"][0]["finish_reason"] == "content_filter"


async def test_a_start_without_upstreams(puppet: Start) -> None:
    engine = UpstreamEngine([UpstreamOptions(f"http://127.0.0.1:{free_port()}")], patience_s=0.2)
    late = Puppet()
    engines = Engines([Served(engine, "far", required=False)])
    await engines.start()
    assert "None of the upstreams" in (engines.all[0].error or "")
    await engines.stop()
    waiting = UpstreamEngine([UpstreamOptions(late.url)], patience_s=30)
    starting = asyncio.create_task(waiting.start())
    await asyncio.sleep(0)
    await asyncio.to_thread(late.start)
    await starting
    assert waiting.facts.names == ("m",)
    await waiting.stop()
    await asyncio.to_thread(late.die)


def test_two_engines_one_of_them_elsewhere(puppet: Start, settings: Settings) -> None:
    other = puppet()
    engines = Engines([Served(ScriptedEngine()), Served(UpstreamEngine([UpstreamOptions(other.url)]))])
    with conftest.serving(settings, engines) as served, served.client() as client:
        eventually(lambda: bool(served.app.state.ready))
        for name, said in (("scripted", "Hello, world"), ("m", "Hello world")):
            answer = client.post("/v1/chat/completions", json={**HI, "model": name}).json()
            assert answer["choices"][0]["message"]["content"] == said
