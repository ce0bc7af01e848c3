"""Certificates: Kodify's own, and those by which it trusts others."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from kodify import verdicts
from kodify.doctor.finding import Finding, failed, ok, warning
from kodify.settings import Settings

SOON_DAYS = 21


def look(settings: Settings) -> Iterator[Finding]:
    yield from _own(settings)
    yield from _authorities(settings)


def _own(settings: Settings) -> Iterator[Finding]:
    if settings.tls_cert is None:
        yield ok("certificate", "TLS_CERT is unset: TLS is a proxy's, or there is none.")
        return
    for problem in verdicts.encryption(settings):
        yield failed("certificate", problem)
        return
    yield from _ends("certificate", settings.tls_cert)
    if settings.tls_client_ca is not None:
        yield from _ends("clients' authority", settings.tls_client_ca)


def _ends(about: str, path: str) -> Iterator[Finding]:
    try:
        certificates = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        yield failed(about, f"{path} can't be read as certificates in PEM form: {error}.")
        return
    now = datetime.now(UTC)
    for certificate in certificates:
        name, begins = certificate.subject.rfc4514_string() or "(no name)", certificate.not_valid_before_utc
        ends = certificate.not_valid_after_utc
        if begins > now:
            yield failed(
                about,
                f"{name} begins on {begins:%Y-%m-%d}, and this host's clock says {now:%Y-%m-%d}: set the clock, or put "
                "another one in its place.",
            )
        elif ends < now:
            yield failed(about, f"{name} ended on {ends:%Y-%m-%d}: put a new one in its place ({path}).")
        elif (days := (ends - now).days) < SOON_DAYS:
            yield warning(
                about, f"{name} ends on {ends:%Y-%m-%d}, in {days} days: put a new one in its place ({path})."
            )
        else:
            yield ok(about, f"{name} is good until {ends:%Y-%m-%d}.")


def _authorities(settings: Settings) -> Iterator[Finding]:
    """Those by which Kodify trusts others, where it asks any by https."""
    asked = [one.url for one in settings.file.upstreams]
    asked += [settings.oidc_discovery_url or ""]
    asked += [settings.file.censor.url or ""] if settings.file.censor is not None else []
    if not any(url.startswith("https://") for url in asked):
        return
    paths = ssl.get_default_verify_paths()
    if named := os.environ.get(paths.openssl_cafile_env):  # OpenSSL passes over one that is not there
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(named)
        except (OSError, ssl.SSLError) as error:
            yield failed(
                "authorities",
                f"SSL_CERT_FILE names {named}, which is no file of certificates in PEM form: {error}.",
            )
            return
    context = ssl.create_default_context()
    count = context.cert_store_stats()["x509_ca"]
    where = paths.cafile or paths.capath or paths.openssl_cafile
    if count or (paths.capath and any(Path(paths.capath).glob("*.0"))):
        yield ok("authorities", f"others are trusted by {where}.")
    else:
        yield failed(
            "authorities",
            f"no certificate authority is known ({where}): install ca-certificates, or set "
            "SSL_CERT_FILE to the company's.",
        )
