"""Every exit speaks one error shape."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from kodify.engine.scripted import Script
from kodify.errors import EngineFailedError, UnavailableError
from tests.conftest import Serve, Served

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}


def assert_error(answer: httpx.Response, status: int, type_: str, message: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == status, body
    assert answer.headers["content-type"] == "application/json"
    assert set(body) == {"object", "message", "type", "param", "code", "error"}
    assert body["object"] == "error"
    assert (body["code"], body["type"]) == (status, type_)
    assert body["error"] == {key: body[key] for key in ("message", "type", "param", "code")}
    if message is not None:
        assert body["message"] == message
    return body


def test_unknown_path_and_wrong_method(serve: Serve) -> None:
    with serve().client() as client:
        for path in ("/nowhere", "/health/", "/v1/models/"):
            assert_error(client.get(path), 404, "NotFoundError", "Not Found")
        answer = client.get("/v1/chat/completions")
        assert_error(answer, 405, "MethodNotAllowedError", "Method Not Allowed")
        assert answer.headers["allow"] == "POST"


def test_a_bug_tells_the_client_nothing(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = serve(Script(error=ZeroDivisionError("secret detail")))
    with served.client() as client:
        answer = client.post("/v1/chat/completions", json=CHAT)
    assert_error(answer, 500, "InternalServerError", "Internal Server Error")
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_delta_keeps_its_status(serve: Serve, stream: bool) -> None:
    served = serve(Script(pieces=(), error=UnavailableError("busy", retry_after_s=7)))
    with served.client() as client:
        answer = client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
    assert_error(answer, 503, "ServiceUnavailableError", "busy")
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_submission_keeps_its_status(serve: Serve, stream: bool) -> None:
    served = serve(Script(error_on_submit=UnavailableError("full")))
    with served.client() as client:
        answer = client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
    assert_error(answer, 503, "ServiceUnavailableError", "full")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_failure_after_the_headers_is_one_frame_without_done(serve: Serve, path: str) -> None:
    served = serve(Script(pieces=("a", "b"), error=EngineFailedError()))
    with served.client() as client:
        answer = client.post(path, json={**CHAT, "prompt": "x", "stream": True})
    assert answer.status_code == 200
    frames = [line for line in answer.text.split("\n\n") if line]
    assert "[DONE]" not in answer.text
    assert [frame.startswith('data: {"object":"error"') for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert '"error":{"message":"The engine failed to complete the request."' in frames[-1]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value"),
        (b"hello", "Expecting value"),
        (b'{"model": "scripted", "messages": [}', "Expecting value"),
        (b'{"model": "\xff"}', "Invalid UTF-8"),
        (b'{"model": NaN}', "NaN is no JSON value"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_body_that_is_not_json(serve: Serve, body: bytes, reason: str) -> None:
    with serve().client() as client:
        answer = client.post("/v1/chat/completions", content=body)
    message = assert_error(answer, 400, "BadRequestError")["message"]
    assert message.startswith("[{'type': 'json_invalid', 'loc': ('body', ")
    assert "'msg': 'JSON decode error', 'input': {}, 'ctx': {'error': " in message
    assert reason in message


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"text"'])
def test_json_that_is_no_object(serve: Serve, body: bytes) -> None:
    with serve().client() as client:
        answer = client.post("/v1/chat/completions", content=body)
    assert "model_attributes_type" in assert_error(answer, 400, "BadRequestError")["message"]


def test_a_body_of_100_megabytes_is_refused(serve: Serve) -> None:
    served = serve()
    with served.client() as client:
        announced = client.post("/v1/chat/completions", content=b" " * 100_000_000)
        assert_error(announced, 413, "BodyTooLargeError")

        def chunks() -> Any:
            for _ in range(100):
                yield b" " * 1_000_000

        grown = client.post("/v1/chat/completions", content=chunks())
        assert_error(grown, 413, "BodyTooLargeError")


def test_a_model_still_loading_is_503_with_retry_after(serve: Serve) -> None:
    served = serve()
    served.loop.call_soon_threadsafe(_unready, served)
    with served.client() as client:
        for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/health")):
            answer = client.request(method, path, json=CHAT)
            assert_error(answer, 503, "ServiceUnavailableError")
            assert int(answer.headers["retry-after"]) > 0


def _unready(served: Served) -> None:
    served.app.state.ready = False
