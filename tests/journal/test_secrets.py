"""Tokens reach no journal, no log and no metric, wherever a client writes them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from kodify import logs
from kodify.auth import tokens
from kodify.config_file import hide_secrets
from kodify.journal.secrets import Mask, credentials
from tests.auth.test_users import found_company
from tests.auth.test_users_cache import dump
from tests.conftest import Serve, eventually
from tests.journal.conftest import Journaled, Place

CANARY = 'canary-"7f3a"-\\of-the-company'


def journal_and_files(place: Place) -> str:
    name = str(place.variables["LOGS_DB_NAME"])
    dumped = dump(place.address, "public")
    assert "CREATE TABLE public.journal" in dumped, name
    files = [path for path in Path(str(place.variables["DATA_PATH"])).rglob("*") if path.is_file()]
    assert files, "there is a spool"
    return dumped + "".join(path.read_bytes().decode("latin-1") for path in files)


class Written(logging.Handler):
    """What the log says, in both forms, with nothing masked that only looks like a credential."""

    def __init__(self) -> None:
        super().__init__()
        self.forms = (logs.TextFormatter(str), logs.JSONFormatter(str))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(("httpx", "httpcore")):  # this test's own client
            self.lines += [form.format(record) for form in self.forms]


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    caplog.set_level(logging.DEBUG)
    handler = Written()
    logging.getLogger().addHandler(handler)
    yield handler.lines
    logging.getLogger().removeHandler(handler)


def send_everywhere(client: httpx.Client, canary: str) -> None:
    """The canary as a header, a query, a path, a cookie, in bodies that are read and in bodies that are refused."""
    chat = {"model": "scripted", "messages": [{"role": "user", "content": f"my token is {canary}, see"}]}
    headers = {"x-api-key": canary, "cookie": f"token={canary}", "x-other": canary}
    for stream in (False, True):
        client.post(f"/v1/chat/completions?api_key={canary}", json={**chat, "stream": stream}, headers=headers)
    client.post("/v1/completions", json={"model": "scripted", "prompt": canary, "echo": True})
    client.post("/v1/completions", json={"model": canary, "prompt": "x"})
    client.post("/v1/completions", content=f'{{"prompt": "{canary}'.encode())
    client.post("/v1/completions", json={"model": "scripted", "prompt": "x", "temperature": 9, "user": canary})
    client.get(f"/v1/models?{canary}")
    client.get(f"/{canary}")
    client.post("/token", data={"username": canary, "password": canary})


def test_the_one_token(journaled: Callable[..., Journaled], written: list[str]) -> None:
    journal = journaled(VLLM_API_KEY=SecretStr(CANARY), ACCESS_LOG=True)
    with journal.served.client(authorization=f"Bearer {CANARY}", **{"x-request-id": "canary-request"}) as client:
        send_everywhere(client, CANARY)
        journal.rows(7)
        shown = client.get("/metrics").text
    assert any(" kodify.access [canary-request]: POST /v1/completions 400" in line for line in written)
    assert {row["request_id"] for row in journal.rows(7)} == {"canary-request"}
    for place in (journal_and_files(journal.place), "\n".join(written), shown):
        for secret in ("7f3a", "of-the-company"):
            assert secret not in place
    texts = [
        row["request"]["messages"][0]["content"] for row in journal.rows(7) if "messages" in (row["request"] or {})
    ]
    assert texts == ["my token is ********, see"] * 2


def test_users_tokens(serve: Serve, users: dict[str, object], place: Place, written: list[str]) -> None:
    company = found_company(serve, {**users, **place.variables, "ACCESS_LOG": True})
    token = company.hire("a@example.ru")
    foreign = tokens.make()  # another user's, in a prompt
    with company.client(token) as client:
        send_everywhere(client, token)
        send_everywhere(client, foreign)
        eventually(lambda: place.count() >= 14)
        shown = client.get("/metrics").text
    assert any("user a@example.ru" in line for line in written)
    for kept in (journal_and_files(place), "\n".join(written), shown):
        for secret in (token[12:], foreign[12:], token[20:40], foreign[20:40]):
            assert secret not in kept
    assert {row["username"] for row in place.rows() if row["status_code"] == 200} == {"a@example.ru"}


def test_short_words_are_no_secrets() -> None:
    mask = Mask(["short", "long-enough"])
    assert mask.hide(b"a short one is long-enough") == b"a short one is ********"
    assert mask.hide(b"kdf_file and kdf_tool.py") == b"kdf_file and kdf_tool.py"


def test_a_secret_that_has_a_token_in_it_goes_whole() -> None:
    secret = "prefix-" + tokens.make() + "-suffix"
    assert Mask([secret]).hide(f"x {secret} y".encode()) == b"x ******** y"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer first-of-the-tokens"), (b"x-api-key", b"second-of-the-tokens")],
        [(b"authorization", b"first-of-the-tokens"), (b"authorization", b"Bearer second-of-the-tokens")],
        [(b"x-api-key", b"first-of-the-tokens"), (b"x-api-key", b"second-of-the-tokens")],
    ],
)
def test_every_credential_of_a_request_is_masked(headers: list[tuple[bytes, bytes]]) -> None:
    text = b"first-of-the-tokens and second-of-the-tokens"
    assert Mask(()).hide(text, credentials(headers)) == b"******** and ********"


def test_a_credential_that_json_escapes() -> None:
    own = credentials([(b"authorization", b'Bearer a-"quoted"-token-of-mine')])
    assert Mask(()).hide(b'{"a":"a-\\"quoted\\"-token-of-mine"}', own) == b'{"a":"********"}'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('--api-key "my secret value" --seed 1', "--api-key ******** --seed 1"),
        ("--hf-token=hf_abc --seed 1", "--hf-token=******** --seed 1"),
        ('--x {"secret_access_key":"AAA", "b": 1}', '--x {"secret_access_key":"********", "b": 1}'),
        ("https://id/.well-known?client_secret=abc&x=1", "https://id/.well-known?client_secret=********&x=1"),
        ("redis://me:p@ss/word@host/0", "redis://me:********@host/0"),
        ("https://host:8000/path", "https://host:8000/path"),
    ],
)
def test_secrets_of_the_configuration(text: str, shown: str) -> None:
    assert hide_secrets(text) == shown
