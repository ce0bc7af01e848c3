"""The censor before prompts and answers, over the wire."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodify.config_file import CensorEntry, ConfigFile
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.settings import Settings
from tests.api.test_chat import frames
from tests.conftest import Serve, Served, eventually
from tests.journal.conftest import Journaled, make_place

CHAT: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION: dict[str, Any] = {"model": "scripted", "prompt": "hi"}
BODIES = {"/v1/chat/completions": CHAT, "/v1/completions": COMPLETION}
WORD = "secret"


class Moderator:
    """A moderation endpoint that flags `word`, on a loop in a thread of its own."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, str]] = []
        self.status = 200
        self.content: bytes | None = None
        self.silent = False
        self.word = WORD
        self._started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)
        self._thread.start()
        self._started.wait()
        self.url = f"http://127.0.0.1:{self._port}/v1/moderations"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=256)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopped.wait()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                text = json.loads(await reader.readexactly(int(length)))["input"]
                self.asked.append((head.lower(), text))
                if self.silent:
                    await self._stopped.wait()
                flagged = self.word in text
                results = [{"flagged": flagged, "categories": {"any": flagged}}]
                content = json.dumps({"results": results}).encode() if self.content is None else self.content
                writer.write(b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n\r\n%b" % (self.status, len(content), content))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the client has left, or the test is over
        finally:
            writer.close()


@pytest.fixture
def moderator() -> Iterator[Moderator]:
    found = Moderator()
    yield found
    found.stop()


@dataclass
class Censored:
    serve: Serve
    settings: Settings

    def __call__(
        self, script: Script | None = None, variables: dict[str, object] | None = None, **censor: Any
    ) -> Served:
        self.settings._file = ConfigFile(censor=CensorEntry(**censor))
        served = self.serve(script, **(variables or {}))
        eventually(lambda: bool(served.app.state.ready))
        return served


@pytest.fixture
def censored(serve: Serve, settings: Settings) -> Censored:
    return Censored(serve, settings)


def engine_of(served: Served) -> ScriptedEngine:
    assert isinstance(served.engine, ScriptedEngine)
    return served.engine


def asking(path: str, text: str) -> dict[str, Any]:
    if "chat" in path:
        return {**CHAT, "messages": [{"role": "user", "content": text}]}
    return {**COMPLETION, "prompt": text}


def texts(answer: httpx.Response) -> tuple[dict[int, str], dict[int, str]]:
    """Each choice's text and reason, of a whole answer or a streamed one."""
    said: dict[int, str] = {}
    reasons: dict[int, str] = {}
    streamed = answer.headers["content-type"].startswith("text/event-stream")
    for chunk in frames(answer) if streamed else [answer.json()]:
        for choice in chunk["choices"]:
            place = choice.get("delta") or choice.get("message") or choice
            index = choice["index"]
            said[index] = said.get(index, "") + (place.get("content") or place.get("text") or "")
            if choice["finish_reason"] is not None:
                reasons[index] = choice["finish_reason"]
    return said, reasons


WAYS = [(path, stream) for path in BODIES for stream in (False, True)]
KINDS = ["patterns", "url"]


def censor(kind: str, moderator: Moderator) -> dict[str, Any]:
    return {"patterns": [WORD]} if kind == "patterns" else {"url": moderator.url}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("path", "stream"), WAYS)
def test_a_flagged_prompt_is_answered_without_the_engine(
    censored: Censored, moderator: Moderator, path: str, stream: bool, kind: str
) -> None:
    served = censored(**censor(kind, moderator))
    body = {**asking(path, f"tell me the {WORD}"), "stream": stream, "n": 2}
    with served.client() as client:
        answer = client.post(path, json=body)
        metrics = client.get("/metrics").text
    assert answer.status_code == 200
    assert texts(answer) == ({0: "", 1: ""}, {0: "content_filter", 1: "content_filter"})
    assert engine_of(served).jobs == []
    assert 'kodify_censor_checks_total{result="flagged"} 1.0' in metrics


def test_the_shape_of_a_flagged_answer(censored: Censored) -> None:
    served = censored(Script(pieces=("the ", WORD)), patterns=[WORD])
    with served.client() as client:
        chat = client.post("/v1/chat/completions", json=CHAT).json()
        text = client.post("/v1/completions", json=COMPLETION).json()
        chunks = frames(client.post("/v1/chat/completions", json={**CHAT, "stream": True}))
    assert chat["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "reasoning_content": None, "content": "", "tool_calls": []},
            "logprobs": None,
            "finish_reason": "content_filter",
            "stop_reason": None,
        }
    ]
    assert chat["usage"]["completion_tokens"] == 2
    assert [text["choices"][0][name] for name in ("text", "finish_reason", "stop_reason")] == [
        "",
        "content_filter",
        None,
    ]
    assert chunks[-1]["choices"] == [
        {
            "index": 0,
            "delta": {"content": ""},
            "logprobs": None,
            "finish_reason": "content_filter",
            "stop_reason": None,
        }
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", BODIES)
def test_a_flagged_stream_ends_before_the_passage_and_stops_the_engine(
    censored: Censored, moderator: Moderator, path: str, kind: str
) -> None:
    before = tuple(f"line {number}: nothing of interest\n" for number in range(60))
    pieces = (*before, "the sec", "ret is out", *(("more " * 20,) * 20_000))
    served = censored(Script(pieces=pieces), **censor(kind, moderator))
    with served.client() as client:
        said, reasons = texts(client.post(path, json={**BODIES[path], "stream": True}))
    assert reasons == {0: "content_filter"}
    assert "".join(pieces).startswith(said[0])
    if kind == "patterns":  # elsewhere the verdicts may come in any order, and a bad one is heeded at once
        assert said[0] == "".join(before[:-1])
    assert "sec" not in said[0]
    eventually(lambda: engine_of(served).running() == 0)
    assert engine_of(served).cancelled == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("path", "stream"), WAYS)
def test_what_is_not_flagged_is_the_same_answer(
    censored: Censored, moderator: Moderator, path: str, stream: bool, kind: str
) -> None:
    pieces = ('"quoted" \\ back', "\n\t\r\x00\x1f", "", "Привет 😀 \u2028", *(f"{n} words " for n in range(300)))
    served = censored(Script(pieces=pieces), **censor(kind, moderator))
    body = {**BODIES[path], "stream": stream, "n": 3}
    with served.client() as client:
        answers = [client.post(path, json=body)]
        own, served.app.state.censor = served.app.state.censor, None
        answers.append(client.post(path, json=body))
        served.app.state.censor = own
    for one in answers:
        assert texts(one) == (dict.fromkeys(range(3), "".join(pieces)), dict.fromkeys(range(3), "stop"))

    def events(answer: httpx.Response) -> list[str]:
        """Without what is new each time; of one choice, for choices may pass each other."""
        found = frames(answer) if stream else [answer.json()]
        return sorted(json.dumps({**chunk, "id": 0, "created": 0}) for chunk in found)

    assert events(answers[0]) == events(answers[1])


@pytest.mark.parametrize(("path", "stream"), WAYS)
@pytest.mark.parametrize(
    "trouble", ["not there", "an error", "nonsense", "no results", "too slow"], ids=lambda name: name.replace(" ", "-")
)
def test_without_a_verdict_nothing_passes(
    censored: Censored, moderator: Moderator, path: str, stream: bool, trouble: str
) -> None:
    moderator.status = 500 if trouble == "an error" else 200
    moderator.content = {"nonsense": b"<html>", "no results": b'{"results":[]}'}.get(trouble)
    moderator.silent = trouble == "too slow"
    url = "http://127.0.0.1:9/" if trouble == "not there" else moderator.url
    served = censored(url=url, timeout_s=0.2)
    with served.client() as client:
        answer = client.post(path, json={**BODIES[path], "stream": stream})
        assert answer.status_code == 503
        assert answer.json()["message"] == "The server was unable to complete your request. Please try again later"
        assert answer.json()["code"] == 503
        assert "retry-after" in answer.headers
        assert engine_of(served).jobs == []
        assert 'kodify_censor_checks_total{result="failed"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(("path", "stream"), WAYS)
def test_open_on_failure_lets_through_what_can_not_be_checked(censored: Censored, path: str, stream: bool) -> None:
    served = censored(url="http://127.0.0.1:9/", open_on_failure=True)
    with served.client() as client:
        answer = client.post(path, json={**BODIES[path], "stream": stream})
        assert texts(answer) == ({0: "Hello, world"}, {0: "stop"})
        assert 'kodify_censor_checks_total{result="failed"} 2.0' in client.get("/metrics").text


def test_an_endpoint_that_fails_in_mid_stream_ends_it_with_an_error(censored: Censored, moderator: Moderator) -> None:
    served = censored(Script(endless=True), url=moderator.url, check="answers")
    body = {**CHAT, "stream": True}
    with served.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        while "on and" not in next(lines):
            pass
        moderator.status = 502
        rest = [line for line in lines if line]
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == 503
    eventually(lambda: engine_of(served).running() == 0)


@pytest.mark.parametrize(
    ("check", "prompt_reason", "answer_reason"),
    [("prompts", "content_filter", "stop"), ("answers", "stop", "content_filter")],
)
def test_one_of_the_two_can_be_checked_alone(
    censored: Censored, check: str, prompt_reason: str, answer_reason: str
) -> None:
    served = censored(Script(pieces=("my ", "word")), patterns=[WORD, "word"], check=check)
    with served.client() as client:
        answered = texts(client.post("/v1/completions", json=COMPLETION))[1]
        engine_of(served).script = Script()
        asked = texts(client.post("/v1/completions", json=asking("", f"a {WORD}")))[1]
    assert (asked, answered) == ({0: prompt_reason}, {0: answer_reason})


def test_the_endpoint_is_asked_in_the_documented_form(censored: Censored, moderator: Moderator) -> None:
    served = censored(url=moderator.url, token="tok")
    with served.client() as client:
        client.post("/v1/completions", json=asking("", "Привет"))
        metrics = client.get("/metrics").text
    assert [text for _, text in moderator.asked] == ["Привет", "Hello, world"]
    head = moderator.asked[0][0]
    assert head.startswith(b"post /v1/moderations http/1.1\r\n")
    assert b"authorization: bearer tok\r\n" in head
    assert b"content-type: application/json\r\n" in head
    assert 'kodify_censor_checks_total{result="passed"} 2.0' in metrics
    assert "kodify_censor_seconds_count 2.0" in metrics


def test_a_prompt_of_token_ids_is_read_as_the_model_does(censored: Censored) -> None:
    served = censored(patterns=[WORD])
    with served.client() as client:
        answer = client.post("/v1/completions", json={**COMPLETION, "prompt": [ord(letter) for letter in WORD]})
    assert texts(answer)[1] == {0: "content_filter"}


def test_64_streams_at_once(censored: Censored, moderator: Moderator) -> None:
    pieces = tuple(f"piece {number} " for number in range(200))
    served = censored(Script(pieces=pieces), url=moderator.url, patterns=["never said"])
    with served.client() as client, ThreadPoolExecutor(64) as pool:
        client.timeout = httpx.Timeout(60)
        asked = [asking("", WORD if number % 8 == 0 else "hi") for number in range(64)]
        answers = list(pool.map(lambda body: client.post("/v1/completions", json={**body, "stream": True}), asked))
    for number, answer in enumerate(answers):
        expected = ({0: ""}, {0: "content_filter"}) if number % 8 == 0 else ({0: "".join(pieces)}, {0: "stop"})
        assert texts(answer) == expected
    assert len(engine_of(served).jobs) == 56


@pytest.mark.parametrize("at", ["prompt", "answer"])
def test_a_client_that_leaves_while_a_text_is_checked(censored: Censored, moderator: Moderator, at: str) -> None:
    moderator.silent = True
    check = "prompts" if at == "prompt" else "answers"
    served = censored(Script(endless=True), url=moderator.url, timeout_s=60, check=check)
    content = json.dumps({**CHAT, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", int(served.url.rsplit(":", 1)[1]))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        eventually(lambda: bool(moderator.asked))
    with served.client() as client:
        eventually(lambda: "kodify_requests_cancelled_total 1.0" in client.get("/metrics").text)
        eventually(lambda: engine_of(served).running() == 0)
        assert "kodify_requests_in_progress 1.0" in client.get("/metrics").text  # this one
    assert len(engine_of(served).jobs) == (0 if at == "prompt" else 1)


TABBY: dict[str, Any] = {"language": "python", "segments": {"prefix": "x = ", "suffix": "\n", "filepath": "a.py"}}
INFILL: dict[str, Any] = {"input_prefix": "x = ", "input_suffix": "\n"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", TABBY),
        ("/infill", INFILL),
        ("/infill", {**INFILL, "stream": True}),
        ("/v1/completions", {**COMPLETION, "prompt": "x = ", "suffix": "\n"}),
    ],
    ids=["tabby", "infill", "infill-stream", "suffix"],
)
def test_an_editors_flagged_completion_is_empty_and_not_given_again(
    censored: Censored, path: str, body: dict[str, Any]
) -> None:
    served = censored(Script(pieces=("'sec", "ret'")), patterns=[WORD])
    with served.client() as client:
        for _ in range(2):
            answer = client.post(path, json=body)
            assert answer.status_code == 200
            assert "'sec" not in answer.text
        engine_of(served).script = Script(pieces=("'plain'",))
        assert "plain" in client.post(path, json=body).text
    assert len(engine_of(served).jobs) == 3


def test_an_editors_prompt_is_checked_too(censored: Censored) -> None:
    served = censored(patterns=[WORD])
    with served.client() as client:
        body = {**TABBY, "segments": {"prefix": f"# the {WORD}\n"}}
        answer = client.post("/v1/completions", json=body)
    assert answer.json()["choices"] == [{"index": 0, "text": ""}]
    assert engine_of(served).jobs == []


def test_of_several_candidates_a_flagged_one_is_chosen_last(censored: Censored) -> None:
    served = censored(Script(pieces=("all ", "well")), patterns=["well"])
    with served.client() as client:
        answer = client.post("/v1/completions", json={**COMPLETION, "best_of": 3})
    assert texts(answer) == ({0: ""}, {0: "content_filter"})


def test_the_journal_tells_of_both(censored: Censored, postgres: str, tmp_path: Path) -> None:
    place = make_place(postgres, tmp_path)
    served = censored(Script(pieces=("well ", "and ", "the ", WORD)), place.variables, patterns=[WORD])
    with served.client() as client:
        client.post("/v1/chat/completions", json=asking("chat", f"the {WORD}"))
        client.post("/v1/chat/completions", json=CHAT)
        client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    rows = Journaled(served, place).rows(3)
    assert [(row["status_code"], row["finish_reason"]) for row in rows] == [(200, "content_filter")] * 3
    assert rows[0]["request"]["messages"][0]["content"] == f"the {WORD}"
    assert [row["completion_tokens"] for row in rows] == [0, 4, 4]
    said = [row["response"]["choices"][0]["message"]["content"] for row in rows]
    assert said == ["", "", "well "]  # as the clients were told


def test_the_journal_tells_of_a_missing_verdict(censored: Censored, postgres: str, tmp_path: Path) -> None:
    place = make_place(postgres, tmp_path)
    served = censored(None, place.variables, url="http://127.0.0.1:9/")
    with served.client() as client:
        client.post("/v1/chat/completions", json=CHAT)
    row = Journaled(served, place).only_row()
    assert (row["status_code"], row["response"]["type"]) == (503, "ServiceUnavailableError")
