"""Chat on the scripted engine: the wire, and the client that leaves."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import openai
import pytest

from kodify.engine.scripted import Script, ScriptedEngine
from tests.conftest import Serve, Served, eventually

CHAT: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}


def frames(answer: httpx.Response) -> list[Any]:
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_whole_answer_has_the_documented_fields(serve: Serve) -> None:
    with serve().client() as client:
        body = client.post("/v1/chat/completions", json=CHAT).json()
    assert list(body) == ["id", "object", "created", "model", "choices", "usage", "prompt_logprobs"]
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    assert body["model"] == "scripted"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "reasoning_content": None, "content": "Hello, world", "tool_calls": []},
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }
    ]
    assert body["usage"] == {
        "prompt_tokens": 2,
        "total_tokens": 5,
        "completion_tokens": 3,
        "prompt_tokens_details": None,
    }


def test_a_stream_begins_with_the_role_and_ends_with_done(serve: Serve) -> None:
    with serve().client() as client:
        answer = client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    chunks = frames(answer)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Hello"},
        {"content": ", "},
        {"content": "world"},
    ]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None, None, None, "stop"]


def test_usage_comes_in_a_last_chunk_without_choices_and_is_null_before(serve: Serve) -> None:
    with serve().client() as client:
        request = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
        chunks = frames(client.post("/v1/chat/completions", json=request))
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 3


def test_text_of_any_kind_survives_the_template(serve: Serve) -> None:
    pieces = ('"quoted" \\ back', "\n\t\r\x00\x1f", "Привет 😀 \u2028", "</script>")
    with serve(Script(pieces=pieces)).client() as client:
        chunks = frames(client.post("/v1/chat/completions", json={**CHAT, "stream": True}))
        whole = client.post("/v1/chat/completions", json=CHAT).json()
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == "".join(pieces)
    assert whole["choices"][0]["message"]["content"] == "".join(pieces)


def test_n_choices_are_streamed_beside_each_other(serve: Serve) -> None:
    with serve().client() as client:
        chunks = frames(client.post("/v1/chat/completions", json={**CHAT, "stream": True, "n": 3}))
        whole = client.post("/v1/chat/completions", json={**CHAT, "n": 3}).json()
    texts = dict.fromkeys(range(3), "")
    for chunk in chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["delta"]["content"]
    assert set(texts.values()) == {"Hello, world"}
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]


def test_the_official_client(serve: Serve) -> None:
    with openai.OpenAI(base_url=serve().url + "/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "hi"}])
        assert whole.choices[0].message.content == "Hello, world"
        stream = client.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hello, world"
        with pytest.raises(openai.NotFoundError, match=r'The model "other" does not exist\.'):
            client.chat.completions.create(model="other", messages=[{"role": "user", "content": "hi"}])


def scripted(served: Served) -> ScriptedEngine:
    assert isinstance(served.engine, ScriptedEngine)
    return served.engine


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_engine(serve: Serve, stream: bool) -> None:
    served = serve(Script(endless=True))
    engine = scripted(served)
    content = json.dumps({**CHAT, "stream": stream}).encode()
    port = int(served.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        if stream:
            assert b"200 OK" in connection.recv(1000)
        eventually(lambda: engine.running() == 1)
    eventually(lambda: engine.running() == 0)
    assert engine.cancelled == 1
    with served.client() as client:
        assert "kodify_requests_cancelled_total 1.0" in client.get("/metrics").text


def test_a_reader_slower_than_the_engine_gets_everything_in_order(serve: Serve) -> None:
    pieces = tuple(f"{number:06d} {'x' * 200}" for number in range(20_000))
    served = serve(Script(pieces=pieces), MAX_UNREAD_BYTES=1 << 30)
    text = ""
    with (
        served.client() as client,
        client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer,
    ):
        eventually(lambda: scripted(served).running() == 0, 60)  # all is said before a byte of it is read
        text = "".join(answer.iter_text())
    chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == "".join(pieces)
    assert text.endswith("data: [DONE]\n\n")


def test_the_request_id_is_the_clients_where_it_is_sane(serve: Serve) -> None:
    with serve().client() as client:
        assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
        for odd in ("", "a b", "x" * 200):
            assert len(client.get("/health", headers={"x-request-id": odd}).headers["x-request-id"]) == 32
