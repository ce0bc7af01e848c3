"""The log's lines: one for each record, whatever is in it, in either form, and without secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from kodify import logs, serving
from kodify.auth import tokens
from kodify.settings import Settings
from kodify.tracing import Tracing

FORGED = "2026-01-01 00:00:00,000 ERROR kodify: forged"
PARENT = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
SECRET = "a-secret-of-the-settings"


@pytest.fixture
def formatters(settings: Settings) -> dict[str, logging.Formatter]:
    hide = logs.hider(settings.model_copy(update={"vllm_api_key": SecretStr(SECRET)}))
    return {"text": logs.TextFormatter(hide), "json": logs.JSONFormatter(hide)}


@pytest.fixture(params=["text", "json"])
def formatter(request: pytest.FixtureRequest, formatters: dict[str, logging.Formatter]) -> logging.Formatter:
    return formatters[request.param]


@pytest.fixture
def request_being_served() -> Iterator[serving.Serving]:
    current = serving.Serving("mine-1", 0.0)
    token = serving.current.set(current)
    yield current
    serving.current.reset(token)


def record(message: str, *arguments: Any, error: Exception | None = None, **extra: Any) -> logging.LogRecord:
    found = None if error is None else (type(error), error, error.__traceback__)
    made = logging.getLogger("kodify.test").makeRecord(
        "kodify.test", logging.WARNING, __file__, 1, message, arguments, found, extra=extra
    )
    made.created, made.msecs = 1_795_254_618.25, 250.0
    return made


def raised(message: str) -> Exception:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def test_text(formatters: dict[str, logging.Formatter]) -> None:
    line = formatters["text"].format(record("%d entries", 3))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,250 WARNING kodify\.test: 3 entries", line)


def test_json(formatters: dict[str, logging.Formatter]) -> None:
    assert json.loads(formatters["json"].format(record("записей: %d", 3))) == {
        "timestamp": "2026-11-21T09:50:18.250Z",
        "level": "warning",
        "logger": "kodify.test",
        "message": "записей: 3",
    }


@pytest.mark.parametrize(
    "end",
    ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\x1b[2K\x1b[1G", "\x9b2K", "\b" * 80, "\x00"],
)
def test_no_message_forges_a_line(formatter: logging.Formatter, end: str) -> None:
    for one in (record(f"x{end}{FORGED}"), record("%s", f"x{end}{FORGED}")):
        line = formatter.format(one)
        assert len(line.splitlines()) == 1
        assert line.isprintable()
        assert "forged" in line


@pytest.mark.parametrize("odd", ["\u202e", "\u2066", "\u200f"])
def test_no_message_turns_the_direction_of_a_line(formatter: logging.Formatter, odd: str) -> None:
    assert odd not in formatter.format(record(f"x{odd}y"))


def test_half_a_surrogate_pair_is_no_json(formatters: dict[str, logging.Formatter]) -> None:
    assert json.loads(formatters["json"].format(record("x\ud800😀")))["message"] == "x\ufffd😀"
    assert formatters["text"].format(record("x\ud800😀")).endswith(r"x\ud800😀")


def test_an_exceptions_trace_can_forge_nothing_either(formatters: dict[str, logging.Formatter]) -> None:
    one = record("a bug", error=raised(f"bad\r\n{FORGED}\x1b[0m"))
    first, *rest = formatters["text"].format(one).split("\n")
    assert first.endswith("kodify.test: a bug")
    assert all(line.startswith("  ") and line.isprintable() for line in rest)
    assert any("forged" in line for line in rest)
    told = json.loads(formatters["json"].format(one))["exception"]
    assert told["type"] == "ValueError"
    assert told["message"].startswith("bad\r\n")
    assert "Traceback" in told["trace"] and "raised" in told["trace"]
    assert len(formatters["json"].format(one).splitlines()) == 1


def test_the_request_that_is_being_served(
    formatters: dict[str, logging.Formatter], request_being_served: serving.Serving
) -> None:
    assert "WARNING kodify.test [mine-1]: x" in formatters["text"].format(record("x"))
    assert json.loads(formatters["json"].format(record("x")))["request_id"] == "mine-1"
    request_being_served.end()  # what goes on after it is not about it
    assert "mine-1" not in formatters["text"].format(record("x")) + formatters["json"].format(record("x"))


def test_the_trace_of_the_request(
    formatters: dict[str, logging.Formatter], request_being_served: serving.Serving, settings: Settings
) -> None:
    tracing = Tracing(settings.model_copy(update={"otel_exporter_otlp_endpoint": "http://127.0.0.1:1"}))
    trace = request_being_served.trace = tracing.begin([(b"traceparent", PARENT)], "mine-1")
    assert trace is not None
    assert json.loads(formatters["json"].format(record("x")))["trace_id"] == "a" * 32
    asyncio.run(tracing.stop())


TOKEN = tokens.make()


@pytest.mark.parametrize(
    ("message", "secret"),
    [
        (f"x {TOKEN} y", TOKEN[4:]),
        (f"{TOKEN}", TOKEN[20:]),
        (f"Authorization: Bearer {TOKEN}", TOKEN[4:]),
        ("authorization: Bearer eyJhbGciOi.eyJzdWIiOiIx.c2ln", "eyJ"),
        ("{'Authorization': 'Bearer abcdefghijklmnop'}", "abcdef"),
        ("(b'authorization', b'Basic dXNlcjpwYXNzd29yZA==')", "dXNl"),
        ("x-api-key=sk-company-1234", "sk-company"),
        ("sent 'bearer abcdefghijklmnop.qrst'", "abcdefgh"),
        ("host=db user=kodify password=hunter22 dbname=x", "hunter22"),
        ('{"username": "a", "password": "hunter22"}', "hunter22"),
        ("postgresql://kodify:hunter22@db:5432/x", "hunter22"),
        (f"the key is {SECRET}.", SECRET),
    ],
    ids=lambda text: text.replace(TOKEN, "TOKEN").replace(TOKEN[4:], "TOKEN").replace(TOKEN[20:], "TOKEN"),
)
def test_secrets_are_masked(formatter: logging.Formatter, message: str, secret: str) -> None:
    plain, traced = formatter.format(record("%s", message)), formatter.format(record("x", error=raised(message)))
    for line in (plain, traced):
        assert logs.MASK in line
        assert secret not in line


@pytest.mark.parametrize(
    "message",
    ["the bearer token is missing", "listening on http://127.0.0.1:8000/v1", "password authentication failed for user"],
)
def test_what_is_no_secret_stays(formatters: dict[str, logging.Formatter], message: str) -> None:
    assert json.loads(formatters["json"].format(record(message)))["message"] == message


def test_fields_stand_beside_the_message(formatters: dict[str, logging.Formatter]) -> None:
    assert json.loads(formatters["json"].format(record("x", fields={"status": 200})))["status"] == 200


def run(code: str, **environment: str) -> list[str]:
    """The lines on standard error of a process of its own."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("LOG", "VLLM"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**given, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert not done.stdout
    return done.stderr.splitlines()


CONFIGURED = "import logging, warnings; from kodify import logs; from kodify.settings import Settings; "
CONFIGURED += "logs.configure(Settings.load()); "


def test_every_librarys_records_have_the_form() -> None:
    code = (
        CONFIGURED + "logging.getLogger('uvicorn.error').error('a\\nb'); logging.getLogger('uvicorn.error').info('x'); "
    )
    code += "warnings.warn('c'); logs.access.info('d')"
    lines = [json.loads(line) for line in run(code, LOG_FORMAT="json", ACCESS_LOG="true", LOG_LEVEL="warning")]
    assert [line["logger"] for line in lines] == ["uvicorn.error", "py.warnings", "kodify.access"]
    assert lines[0]["message"] == "a\nb"


def test_a_broken_form_writes_no_line() -> None:
    code = CONFIGURED + "from python_multipart.multipart import MultipartParser; parser = MultipartParser(b'edge')\n"
    code += "try: parser.write(b'no form')\nexcept ValueError: print('refused', file=__import__('sys').stderr)"
    assert run(code) == ["refused"]


SAY = "from vllm import logger; logger._configure_vllm_root_logger(); log = logger.init_logger('vllm.x'); "
SAY += "log.error('a\\nb'); log.info('c')"


@pytest.mark.parametrize(
    ("code", "variables"),
    [
        (CONFIGURED + SAY, {}),
        (SAY, {"VLLM_LOGGING_CONFIG_PATH": str(logs.VLLM_CONFIG)}),  # as a process of the engine's own starts
    ],
    ids=["server", "engine"],
)
def test_vllms_records_too(code: str, variables: dict[str, str]) -> None:
    (line,) = run(code, LOG_FORMAT="json", VLLM_LOGGING_LEVEL="ERROR", **variables)
    assert (json.loads(line)["logger"], json.loads(line)["message"]) == ("vllm.x", "a\nb")
