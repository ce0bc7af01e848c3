"""TLS in process: the server's certificate, read again when its files change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kodify.errors import ConfigError
from kodify.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 60
CERTIFICATE, PRIVATE_KEY, ENCRYPTED = b"-----BEGIN CERTIFICATE", b"PRIVATE KEY-----", b"ENCRYPTED"


class _Pair(NamedTuple):
    cert: str
    key: str
    is_locked: bool


class Certificate:
    """TLS_CERT and TLS_KEY, in the context that connections are made with.

    Open connections keep the certificate that they began with. TLS_CLIENT_CA is read once: what a context trusts
    can't be taken back from it.
    """

    def __init__(self, cert: str, key: str, password: str | None = None, client_ca: str | None = None) -> None:
        """Raises ConfigError with one sentence."""
        self._cert, self._key, self._password, self._client_ca = cert, key, password, client_ca
        self._stamp = self._read_stamp()
        self.context = self._build_context()

    async def look(self) -> None:
        """Reads the files again where they have changed."""
        if self._read_stamp() != self._stamp:
            self.reload()

    def reload(self) -> None:
        """Reads the files again. A pair that can't be used is told in the log, and the old one stays."""
        self._stamp = self._read_stamp()
        try:
            with self._copied() as pair:
                self._load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)  # half of a bad pair would stay
                self._load_into(self.context, pair)
        except ConfigError as error:
            log.error("The old certificate goes on: %s", error.message)
        except (OSError, ValueError) as error:  # this is called where an error would end the server
            self._stamp = ()  # the next look tries again: the fault may not be the files'
            log.error("The old certificate goes on: TLS_CERT and TLS_KEY can't be read again: %s.", error)
        else:
            log.info("TLS_CERT was read again.")

    def _build_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        with self._copied() as pair:
            self._load_into(context, pair)
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            named = f"TLS_CLIENT_CA names {self._client_ca}, which"
            _read(named, self._client_ca)
            try:
                context.load_verify_locations(self._client_ca)
            except ssl.SSLError as error:
                raise ConfigError(f"{named} holds no certificates in PEM form: {error}.") from None
        return context

    @contextlib.contextmanager
    def _copied(self) -> Iterator[_Pair]:
        """The files as they are now, for as long as it takes to load them: they may be replaced meanwhile."""
        cert, key = f"TLS_CERT names {self._cert}, which", f"TLS_KEY names {self._key}, which"
        cert_bytes = _read(cert, self._cert)
        if CERTIFICATE not in cert_bytes:
            raise ConfigError(f"{cert} holds no certificate in PEM form.")
        key_bytes = _read(key, self._key)
        if PRIVATE_KEY not in key_bytes:
            raise ConfigError(f"{key} holds no private key in PEM form.")
        # Only this user may read them.
        with tempfile.NamedTemporaryFile() as cert_copy, tempfile.NamedTemporaryFile() as key_copy:
            for copy, content in ((cert_copy, cert_bytes), (key_copy, key_bytes)):
                copy.write(content)
                copy.flush()
            yield _Pair(cert_copy.name, key_copy.name, ENCRYPTED in key_bytes)

    def _load_into(self, context: ssl.SSLContext, pair: _Pair) -> None:
        cert, key = self._cert, self._key
        try:
            context.load_cert_chain(pair.cert, pair.key, lambda: self._password or "")  # else OpenSSL asks a terminal
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ConfigError(f"TLS_KEY names {key}, which is not the key of TLS_CERT {cert}.") from None
            if pair.is_locked:
                raise ConfigError(f"TLS_KEY names {key}, which TLS_KEY_PASSWORD does not open.") from None
            raise ConfigError(f"TLS_CERT {cert} and TLS_KEY {key} can't be used: {error}.") from None

    def _read_stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(Path(path)) for path in (self._cert, self._key))


def build(settings: Settings) -> Certificate | None:
    """None where Kodify speaks plain HTTP. Raises ConfigError."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    password = settings.tls_key_password
    return Certificate(
        settings.tls_cert,
        settings.tls_key,
        None if password is None else password.get_secret_value(),
        settings.tls_client_ca,
    )


@contextlib.contextmanager
def handshakes_within(seconds: float) -> Iterator[None]:
    """For servers that the running loop makes meanwhile: uvicorn leaves the loop's own minute. Nothing else bounds a
    connection before its handshake is over."""
    loop: Any = asyncio.get_running_loop()
    create_server = loop.create_server

    async def create(*arguments: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", seconds)
        server: asyncio.Server = await create_server(*arguments, **options)
        return server

    loop.create_server = create
    try:
        yield
    finally:
        del loop.create_server


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _read(named: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{named} can't be read: {error.strerror}.") from None
