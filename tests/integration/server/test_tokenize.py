"""Text into tokens and back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.conftest import MODEL
from tests.integration.server.conftest import Spoken

TEXTS = ["def main():\n    print('hi')\n", "Привет, мир 👋", " a\t\u2028b", ""]
MESSAGES: Any = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}]


def post(spoken: Spoken, path: str, body: Any, token: str = "sesame") -> httpx.Response:
    with spoken.client(token) as client:
        return client.post(path, json=body)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back(spoken: Spoken, text: str) -> None:
    found = post(spoken, "/tokenize", {"model": MODEL, "prompt": text, "return_token_strs": True}).json()
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
    assert found["max_model_len"] == 4096
    assert post(spoken, "/detokenize", {"model": MODEL, "tokens": found["tokens"]}).json() == {"prompt": text}


def test_a_chat_has_the_tokens_that_its_answer_tells(spoken: Spoken) -> None:
    counted = post(spoken, "/tokenize", {"messages": MESSAGES}).json()["count"]
    with spoken.openai() as client:
        answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=1)
    usage: Any = answer.usage
    assert counted == usage.prompt_tokens


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tokenize", {}, 400, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, 400, "prompt"),
        ("/tokenize", {"messages": 1}, 400, "messages"),
        ("/tokenize", {"model": "nobody", "prompt": "a"}, 404, "model"),
        ("/detokenize", {"tokens": ["a"]}, 400, "tokens"),
        ("/detokenize", {"tokens": [-1]}, 400, "tokens"),
        ("/detokenize", {}, 400, "tokens"),
    ],
)
def test_what_is_refused(spoken: Spoken, path: str, body: dict[str, Any], status: int, param: str) -> None:
    answer = post(spoken, path, body)
    told = answer.json()
    assert (answer.status_code, told["code"], told["object"], told["param"]) == (status, status, "error", param)


def test_users_only(spoken: Spoken) -> None:
    for path, body in (("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [10]})):
        assert post(spoken, path, body, "wrong").status_code == 401
        assert post(spoken, path, body).status_code == 200


def test_they_are_not_journaled(spoken: Spoken) -> None:
    """The entries come in order: those of before the last one's are there with it."""
    with spoken.client() as client:
        client.post("/tokenize", json={"prompt": "a"}, headers={"x-request-id": "tokenized"})
        client.post("/v1/chat/completions", json={"messages": []}, headers={"x-request-id": "after-it"})
    spoken.row("after-it")
    assert spoken.place.rows("SELECT * FROM journal WHERE request_id = %s", "tokenized") == []
