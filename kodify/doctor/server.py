"""The running server, asked by HTTP: whether it answers, can generate, gets requests, and tells the same time."""

from __future__ import annotations

import email.utils
import re
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx

from kodify import __version__
from kodify.doctor.finding import Finding, failed, ok, warning
from kodify.settings import Settings

PATIENCE_S = 10.0
MOST_SKEW_S = 5.0
ADDRESS = re.compile(r"https?://[^/\s?#]+(/[^\s?#]*)?")
EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def address(settings: Settings) -> str:
    host = EVERY_INTERFACE.get(settings.host, settings.host)
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{settings.port}"


def look(settings: Settings, url: str | None, ca: str | None) -> Iterator[Finding]:
    place = (url or address(settings)).rstrip("/")
    if not ADDRESS.fullmatch(place):
        yield failed("server", f"{place} is no address: give --url as https://HOST:PORT.")
        return
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        yield failed("server", f"--ca names {ca}, which is no file of certificates in PEM form: {error}.")
        return
    if url is None:  # by an address that its certificate need not name
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with httpx.Client(base_url=place, verify=context, timeout=PATIENCE_S, trust_env=False) as client:
        try:
            health = client.get("/health")
        except httpx.TransportError as error:
            yield _silence(place, error)
            return
        yield from _engine(place, health)
        yield from _clock(health)
        yield from _readiness(client)


def _silence(place: str, error: httpx.TransportError) -> Finding:
    reason = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return failed(
                "server",
                f"{place} shows a certificate that is not trusted ({cause.verify_message}): give its authority's with "
                "--ca, or put a good one in its place.",
            )
        cause = cause.__cause__ or cause.__context__
    if place.startswith("http:") and isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return failed("server", f"{place} answers no HTTP ({reason}): if it has TLS, give --url as https://….")
    return failed("server", f"{place} does not answer ({reason}): start it, or name it with --url.")


def _engine(place: str, health: httpx.Response) -> Iterator[Finding]:
    if health.status_code != 200:
        yield failed("engine", f"{place}/health answers {health.status_code}: {_message(health)}")
        return
    version = _content(health).get("version")
    if version is None:
        yield failed("engine", f"{place}/health answers, but is not Kodify's: name Kodify with --url.")
        return
    yield ok("engine", f"{place} can generate, version {version}.")
    if version != __version__:
        yield warning("version", f"the server is {version} and this command {__version__}: use the server's own.")


def _readiness(client: httpx.Client) -> Iterator[Finding]:
    answer = client.get("/ready")
    if answer.status_code != 200:
        yield warning("readiness", f"/ready answers {answer.status_code}: {_message(answer)}")
        return
    content = _content(answer)
    if "models" not in content:
        return
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
    return str(_content(answer).get("message") or f"{answer.text[:200]!r}.")


def _content(answer: httpx.Response) -> dict[str, Any]:
    """Empty where it is no JSON object."""
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
