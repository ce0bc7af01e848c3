"""Code actions over the wire, on the scripted engine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from kodify.actions import SHIPPED, Outcome
from kodify.api import action_answer
from kodify.config_file import CensorEntry, ConfigFile
from kodify.engine.base import Delta
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.settings import Settings
from tests.api.test_errors import assert_error
from tests.conftest import Serve, Served, eventually

CODE = "def twice(n):\n    return n * 3\n"
BODY: dict[str, Any] = {"code": CODE, "language": "python", "path": "src/twice.py"}
FIXED = ("It is `3`.\n\n```", "python\ndef twice(n):\n", "    return n * 2\n```\n")
HEAD = ["id", "object", "created", "model", "action"]


def ready(serve: Serve, *pieces: str, **variables: object) -> Served:
    served = serve(Script(pieces=pieces or FIXED), **variables)
    eventually(lambda: bool(served.app.state.ready))
    return served


def engine_of(served: Served) -> ScriptedEngine:
    assert isinstance(served.engine, ScriptedEngine)
    return served.engine


def events(answer: httpx.Response) -> list[Any]:
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    frames = answer.text.strip().split("\n\n")
    assert frames.pop() == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def test_what_there_is(serve: Serve) -> None:
    with ready(serve).client() as client:
        told = client.get("/v1/actions").json()
    assert [one["name"] for one in told["data"]] == ["document", "fix", "tests", "explain", "review", "commit-message"]
    assert [one["name"] for one in told["data"] if one["makes_diff"]] == ["document", "fix"]
    for one in told["data"]:
        assert list(one) == ["name", "title", "description", "answers", "makes_diff"]
        assert all(one["title"][language] and one["description"][language] for language in ("en", "ru"))


def test_a_whole_answer_has_a_diff_that_applies(serve: Serve, tmp_path: Path) -> None:
    served = ready(serve)
    with served.client() as client:
        told = client.post("/v1/actions/fix", json=BODY).json()
    assert list(told) == [*HEAD, "text", "code", "diff", "finish_reason", "usage"]
    assert told["id"].startswith("act-")
    assert (told["object"], told["model"], told["action"]) == ("action", "scripted", "fix")
    assert told["text"] == "".join(FIXED)
    assert told["code"] == CODE.replace("3", "2")
    assert told["usage"]["completion_tokens"] == 3
    assert told["usage"]["prompt_tokens"] == engine_of(served).jobs[-1].prompt_tokens
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "twice.py").write_text(CODE)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "-"], input=told["diff"].encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "src" / "twice.py").read_text() == told["code"]


def test_a_stream_says_the_same(serve: Serve) -> None:
    with ready(serve).client() as client:
        whole = client.post("/v1/actions/fix", json=BODY).json()
        told = events(client.post("/v1/actions/fix", json={**BODY, "stream": True}))
    *pieces, last = told
    assert [piece["text"] for piece in pieces] == list(FIXED)
    assert {piece["id"] for piece in pieces} == {last["id"]}
    assert list(last) == [*HEAD, "code", "diff", "finish_reason", "usage"]
    assert {name: last[name] for name in ("code", "diff", "usage")} == {
        name: whole[name] for name in ("code", "diff", "usage")
    }


def test_only_the_selection_is_replaced(serve: Serve) -> None:
    served = ready(serve, "```\nreturn n * 2\n```")
    with served.client() as client:
        told = client.post("/v1/actions/fix", json={**BODY, "selection": {"start_line": 2, "end_line": 2}}).json()
    assert told["code"] == CODE.replace("3", "2")
    assert told["diff"].startswith("--- a/src/twice.py\n+++ b/src/twice.py\n@@ -1,2 +1,2 @@\n def twice(n):\n")
    prompt = engine_of(served).jobs[-1].prompts[0].text or ""
    assert "Before them:\n```python\ndef twice(n):\n```" in prompt


def test_texts_are_texts(serve: Serve) -> None:
    with ready(serve, "It doubles.").client() as client:
        told = client.post("/v1/actions/explain", json=BODY).json()
        tests = client.post("/v1/actions/tests", json=BODY).json()
    assert list(told) == [*HEAD, "text", "finish_reason", "usage"]
    assert tests["complaint"] == "The answer has no block of code."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (Script(pieces=("I can't.",)), "no block"),
        (Script(pieces=FIXED, finish_reason="length"), "cut at its longest"),
        (Script(pieces=(*FIXED, *FIXED)), "2 blocks"),
        (Script(pieces=(f"```\n{CODE}```",)), "changed nothing"),
    ],
)
def test_a_malformed_answer_is_told(serve: Serve, script: Script, words: str, stream: bool) -> None:
    served = serve(script)
    eventually(lambda: bool(served.app.state.ready))
    with served.client() as client:
        answer = client.post("/v1/actions/fix", json={**BODY, "stream": stream})
    assert answer.status_code == 200
    told = events(answer)[-1] if stream else answer.json()
    assert words in told["complaint"]
    assert "diff" not in told
    assert ("code" in told) == (told.get("unchanged") is True) == (words == "changed nothing")


@pytest.mark.parametrize(
    ("name", "change", "status", "words"),
    [
        ("sing", {}, 404, 'There is no action "sing" here.'),
        ("../fix", {}, 404, ""),
        ("fix", {"code": None}, 400, "code"),
        ("fix", {"code": ""}, 400, "code is empty"),
        ("fix", {"code": "\0"}, 400, "NUL"),
        ("fix", {"selection": {"start_line": 2, "end_line": 3}}, 400, "lines 2 to 3"),
        ("fix", {"selection": {"start_line": 2}}, 400, "end_line"),
        ("fix", {"selection": [1, 2]}, 400, "selection"),
        ("fix", {"temperature": 3}, 400, "temperature"),
        ("fix", {"top_p": 0}, 400, "top_p"),
        ("fix", {"max_tokens": 0}, 400, "max_tokens"),
        ("fix", {"model": "other"}, 404, 'The model "other" does not exist.'),
        ("fix", {"code": "x = 1\n" * 10_000}, 400, "does not fit the model's context of 4096"),
        ("explain", {"code": "x = 1\n" * 1_000_000}, 400, "does not fit the model's context of 4096"),
    ],
)
def test_what_is_refused(serve: Serve, name: str, change: dict[str, Any], status: int, words: str) -> None:
    served = ready(serve)
    with served.client() as client:
        answer = client.post(f"/v1/actions/{name}", json={**BODY, **change})
    told = assert_error(answer, status, "BadRequestError" if status == 400 else "NotFoundError")
    assert words in told["message"]
    assert engine_of(served).jobs == []


def test_a_selection_of_a_file_that_is_too_long_is_taken(serve: Serve) -> None:
    served = ready(serve, "```\ny = 1\n```")
    code = "x = 1\n" * 10_000
    with served.client() as client:
        told = client.post("/v1/actions/fix", json={"code": code, "selection": {"start_line": 5000, "end_line": 5000}})
    assert told.json()["code"] == "x = 1\n" * 4999 + "y = 1\n" + "x = 1\n" * 5000
    assert told.json()["diff"].count("\n") == 11
    assert engine_of(served).jobs[-1].prompt_tokens < 4096


def test_the_files_of_an_administrator_count_without_a_restart(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "actions"
    shutil.copytree(SHIPPED, folder)
    served = ready(serve, "Ahoy.", ACTIONS_PATH=str(folder))
    served.app.state.actions._look_every_s = 0
    pirate = "---\ntitle: {en: Pirate}\ndescription: {en: Ahoy}\n---\n# System\nAhoy.\n# User\n{{ fenced(code) }}\n"
    with served.client() as client:
        assert client.post("/v1/actions/pirate", json=BODY).status_code == 404
        (folder / "pirate.md").write_text(pirate)
        assert client.post("/v1/actions/pirate", json=BODY).json()["text"] == "Ahoy."
        assert [one["title"] for one in client.get("/v1/actions").json()["data"]][-1] == {
            "en": "Pirate",
            "ru": "Pirate",
        }
    assert (engine_of(served).jobs[-1].prompts[0].text or "").startswith("Ahoy.\n```python\ndef twice")


def test_who_may(serve: Serve) -> None:
    served = ready(serve, VLLM_API_KEY=SecretStr("sesame"))
    with served.client() as client:
        assert_error(client.post("/v1/actions/fix", json=BODY), 401, "UnauthorizedError")
        assert_error(client.get("/v1/actions"), 401, "UnauthorizedError")
    with served.client(authorization="Bearer sesame") as client:
        assert client.post("/v1/actions/fix", json=BODY).status_code == 200


def test_while_the_model_loads(serve: Serve) -> None:
    served = ready(serve)
    served.app.state.ready = False
    with served.client() as client:
        answer = client.post("/v1/actions/fix", json=BODY)
    assert_error(answer, 503, "ServiceUnavailableError")
    assert int(answer.headers["retry-after"]) > 0


def test_an_engine_that_fails_in_mid_stream(serve: Serve) -> None:
    served = serve(Script(pieces=("It is",), error=RuntimeError("broken")))
    eventually(lambda: bool(served.app.state.ready))
    with served.client() as client:
        answer = client.post("/v1/actions/fix", json={**BODY, "stream": True})
    first, last = (json.loads(frame.removeprefix("data: ")) for frame in answer.text.strip().split("\n\n"))
    assert first["text"] == "It is"
    assert last["code"] == 500
    assert "broken" not in answer.text


def test_the_censor_stands_before_it(serve: Serve, settings: Settings) -> None:
    settings._file = ConfigFile(censor=CensorEntry(patterns=["secret"], check="answers"))
    served = ready(serve, "```\nsecret = 1\n", "```")
    with served.client() as client:
        told = client.post("/v1/actions/fix", json=BODY).json()
    assert (told["text"], told["finish_reason"]) == ("", "content_filter")
    assert "content_filter" in told["complaint"]
    assert "code" not in told


def test_a_bug_in_the_outcome_is_told_as_one(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def conclude(*_: object) -> Outcome:
        raise ZeroDivisionError("a detail")

    monkeypatch.setattr(action_answer, "conclude", conclude)
    with ready(serve).client() as client:
        answer = client.post("/v1/actions/fix", json=BODY)
    assert_error(answer, 500, "InternalServerError")
    assert "detail" not in answer.text


def test_deltas_after_the_last_change_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines may stop late."""
    served = ready(serve)
    plain = ScriptedEngine.submit

    async def twice(engine: ScriptedEngine, job: Any, sink: Any) -> Any:
        class Late:
            def emit(self, delta: Delta) -> None:
                sink.emit(delta)
                if delta.finish_reason is not None:
                    sink.emit(delta)

            def fail(self, error: Exception) -> None:
                sink.fail(error)

        return await plain(engine, job, Late())

    monkeypatch.setattr(ScriptedEngine, "submit", twice)
    with served.client() as client:
        assert client.post("/v1/actions/fix", json=BODY).json()["text"] == "".join(FIXED)
