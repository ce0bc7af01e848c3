"""This host: the journal's spool, the disk, certificates."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import disk_usage

from cryptography import x509

from kodify import tls
from kodify.doctor.finding import Finding, failed, ok, warning
from kodify.errors import ConfigError
from kodify.settings import Settings

ALARM = 0.8  # of the spool's limit, as in /metrics
LEAST_FREE_BYTES, LEAST_FREE = 5 * 1024**3, 0.05
SOON_DAYS = 21
GIB = 1024**3


def look(settings: Settings) -> Iterator[Finding]:
    folder = Path(settings.data_path)
    yield from _disk(settings, folder)
    if settings.logs:
        yield from _spool(settings, folder / "journal")
    yield from _own_certificate(settings)
    yield from _authorities(settings)


def _disk(settings: Settings, folder: Path) -> Iterator[Finding]:
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    usage = disk_usage(there)
    least = min(LEAST_FREE_BYTES, usage.total * LEAST_FREE)
    if settings.logs:
        least = max(least, settings.logs_spool_bytes)
    text = f"{usage.free / GIB:.1f} GiB of {usage.total / GIB:.0f} are free where DATA_PATH is ({there})"
    if usage.free < least:
        yield failed("disk", f"{text}: {least / GIB:.1f} are needed.")
    else:
        yield ok("disk", f"{text}.")


def _spool(settings: Settings, folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        yield warning(
            "spool", f"{folder} is not there: the journal was never written from here. Run this as the server."
        )
        return
    size = sum(_size(path) for path in folder.rglob("*.spool"))
    share = size / settings.logs_spool_bytes
    text = f"{size / 1024**2:.1f} MiB, {share:.0%} of LOGS_SPOOL_BYTES"
    if share >= ALARM:
        yield failed("spool", f"{text}: entries are lost at 100 %. See why the journal's database takes none.")
    else:
        yield ok("spool", f"{text}.")
    aside = folder / "quarantine.jsonl"
    if aside.is_file() and _size(aside):
        yield warning("spool", f"{aside} has entries that PostgreSQL refused: look at them, then move the file away.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # the server has just dropped it
        return 0


def _own_certificate(settings: Settings) -> Iterator[Finding]:
    if settings.tls_cert is None:
        yield ok("certificate", "TLS_CERT is unset: TLS is a proxy's, or there is none.")
        return
    try:
        tls.build(settings)
        chain = x509.load_pem_x509_certificates(Path(settings.tls_cert).read_bytes())
    except (ConfigError, OSError, ValueError) as error:
        yield failed("certificate", error.message if isinstance(error, ConfigError) else f"TLS_CERT: {error}.")
        return
    now = datetime.now(UTC)
    for certificate in chain:
        name, ends = certificate.subject.rfc4514_string() or "(no name)", certificate.not_valid_after_utc
        if certificate.not_valid_before_utc > now:
            yield failed("certificate", f"{name} begins on {certificate.not_valid_before_utc:%Y-%m-%d}: see the clock.")
        elif ends < now:
            yield failed("certificate", f"{name} ended on {ends:%Y-%m-%d}: put a new one in its place.")
        elif (ends - now).days < SOON_DAYS:
            yield warning("certificate", f"{name} ends on {ends:%Y-%m-%d}: put a new one in its place.")
        else:
            yield ok("certificate", f"{name} is good until {ends:%Y-%m-%d}.")


def _authorities(settings: Settings) -> Iterator[Finding]:
    """Those by which Kodify trusts others, where it asks any by https."""
    asked = [one.url for one in settings.file.upstreams]
    asked += [settings.oidc_discovery_url or "", settings.otel_exporter_otlp_endpoint or ""]
    asked += [settings.file.censor.url or ""] if settings.file.censor is not None else []
    if not any(url.startswith("https://") for url in asked):
        return
    context = ssl.create_default_context()
    count, paths = context.cert_store_stats()["x509_ca"], ssl.get_default_verify_paths()
    where = paths.cafile or paths.capath or paths.openssl_cafile
    if count or (paths.capath and any(Path(paths.capath).glob("*.0"))):
        yield ok("authorities", f"others are trusted by {where}.")
    else:
        yield failed(
            "authorities",
            f"no certificate authority is known ({where}): install ca-certificates, or set "
            "SSL_CERT_FILE to the company's.",
        )
