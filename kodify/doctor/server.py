"""The running server, asked by HTTP: whether it answers, can generate, gets requests, and tells the same time."""

from __future__ import annotations

import email.utils
import ssl
import time
from collections.abc import Iterator

import httpx

from kodify import __version__
from kodify.doctor.finding import Finding, failed, ok, warning
from kodify.settings import Settings

PATIENCE_S = 10.0
MOST_SKEW_S = 5.0
EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def address(settings: Settings) -> str:
    host = EVERY_INTERFACE.get(settings.host, settings.host)
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{settings.port}"


def look(settings: Settings, url: str | None, ca: str | None) -> Iterator[Finding]:
    place = (url or address(settings)).rstrip("/")
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        yield failed("server", f"the certificates {ca} can't be read: {error}.")
        return
    if url is None:  # by an address that its certificate need not name
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with httpx.Client(base_url=place, verify=context, timeout=PATIENCE_S, trust_env=False) as client:
        try:
            health = client.get("/health")
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            yield failed("server", f"{place} does not answer ({reason}): start it, or name it with --url.")
            return
        yield from _engine(place, health)
        yield from _clock(health)
        yield from _readiness(client)


def _engine(place: str, health: httpx.Response) -> Iterator[Finding]:
    if health.status_code != 200:
        yield failed("engine", f"{place}/health answers {health.status_code}: {_message(health)}")
        return
    version = health.json().get("version")
    yield ok("engine", f"{place} can generate, version {version}.")
    if version != __version__:
        yield warning("version", f"the server is {version} and this command {__version__}: use the server's own.")


def _readiness(client: httpx.Client) -> Iterator[Finding]:
    answer = client.get("/ready")
    if answer.status_code != 200:
        yield warning("readiness", f"/ready answers {answer.status_code}: {_message(answer)}")
        return
    content = answer.json()
    for label, reason in content.get("left_out", {}).items():
        yield warning("models", f"{label} is not served: {reason}")
    yield ok(
        "models",
        f"{', '.join(content['models'])} on {content['device']}; {content['running']} requests run, "
        f"{content['waiting']} wait.",
    )


def _clock(answer: httpx.Response) -> Iterator[Finding]:
    stamp = answer.headers.get("date")
    if stamp is None:
        return
    ahead_s = email.utils.parsedate_to_datetime(stamp).timestamp() - time.time()
    if abs(ahead_s) > MOST_SKEW_S:
        direction = "ahead of" if ahead_s > 0 else "behind"
        yield warning("clock", f"the server's clock is {abs(ahead_s):.0f} s {direction} this host's: set both by NTP.")
    else:
        yield ok("clock", "the server and this host tell the same time.")


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
