"""TLS in process: who may connect, and a certificate that changes while Kodify runs."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import json
import os
import socket
import ssl
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from kodify import tls, verdicts
from kodify.app import build_app
from kodify.engine.scripted import Script, ScriptedEngine
from kodify.errors import ConfigError
from kodify.server import Server, _uvicorn_config
from kodify.settings import Settings
from tests.conftest import eventually, free_port

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}], "stream": True}
NOW = datetime.datetime.now(datetime.UTC)


@dataclass
class Pair:
    """A certificate that signs itself, and its key."""

    cert: Path
    key: Path

    @property
    def variables(self) -> dict[str, str]:
        return {"tls_cert": str(self.cert), "tls_key": str(self.key)}

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).serial_number

    def write(self, password: bytes | None = None) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        address = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=1))
            .not_valid_after(NOW + datetime.timedelta(days=1))
            .add_extension(address, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.cert.write_bytes(made.public_bytes(pem))
        self.key.write_bytes(key.private_bytes(pem, form, lock))
        return self


MakePair = Callable[..., Pair]


@pytest.fixture
def make_pair(tmp_path: Path) -> MakePair:
    def make(name: str, password: bytes | None = None) -> Pair:
        return Pair(tmp_path / f"{name}.crt", tmp_path / f"{name}.key").write(password)

    return make


@dataclass
class Secured:
    port: int
    app: Any
    engine: ScriptedEngine
    loop: asyncio.AbstractEventLoop

    def reload(self) -> None:
        async def reload() -> None:
            self.app.state.certificate.reload()

        asyncio.run_coroutine_threadsafe(reload(), self.loop).result(10)

    def look(self) -> None:
        asyncio.run_coroutine_threadsafe(self.app.state.certificate.look(), self.loop).result(10)

    def serial(self) -> int:
        """Of the certificate that a new connection is shown."""
        shown = ssl.get_server_certificate(("127.0.0.1", self.port))
        return x509.load_pem_x509_certificate(shown.encode()).serial_number


class Threaded(Server):
    """Only a main thread is sent signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


Secure = Callable[..., Secured]


@pytest.fixture(params=["asyncio", "uvloop"])
def secure(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Secure]:
    """secure(script, tls_cert=…): as `kodify serve` has it, on the scripted engine."""
    ends: list[Callable[[], None]] = []

    def start(script: Script | None = None, **variables: object) -> Secured:
        own = settings.model_copy(update={"port": free_port(), **variables})
        engine = ScriptedEngine(script or Script())
        app = build_app(own, engine)
        server = Threaded(_uvicorn_config(app, own), 0)
        loops: list[asyncio.AbstractEventLoop] = []

        async def main() -> None:
            loops.append(asyncio.get_running_loop())
            await server.serve()

        runner: Any = uvloop.run if request.param == "uvloop" else asyncio.run
        thread = threading.Thread(target=runner, args=(main(),), daemon=True)
        thread.start()
        eventually(lambda: server.started or not thread.is_alive())
        assert thread.is_alive()

        def end() -> None:
            server.should_exit = True
            thread.join(40)

        ends.append(end)
        return Secured(own.port, app, engine, loops[0])

    yield start
    for end in ends:
        end()


def trusting(pair: Pair) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pair.cert))


def test_a_stream_over_tls(secure: Secure, make_pair: MakePair) -> None:
    pair = make_pair("server")
    served = secure(**pair.variables)
    with httpx.Client(base_url=f"https://localhost:{served.port}", verify=trusting(pair)) as client:
        for _ in range(2):
            answer = client.post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 200
            assert answer.text.endswith("data: [DONE]\n\n")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{served.port}/health")


def test_old_versions_are_refused(secure: Secure, make_pair: MakePair) -> None:
    pair = make_pair("server")
    served = secure(**pair.variables)
    for version, shown in ((ssl.TLSVersion.TLSv1_1, None), (ssl.TLSVersion.TLSv1_2, "TLSv1.2")):
        context = trusting(pair)
        context.set_ciphers("ALL:@SECLEVEL=0")  # else this side refuses by itself
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as plain:
            if shown is None:
                with pytest.raises(ssl.SSLError, match="EOF"):
                    context.wrap_socket(plain, server_hostname="localhost")
            else:
                with context.wrap_socket(plain, server_hostname="localhost") as connection:
                    assert connection.version() == shown


@pytest.mark.parametrize("how", ["reload", "look"])
def test_a_new_certificate_is_served_without_a_restart(secure: Secure, make_pair: MakePair, how: str) -> None:
    pair = make_pair("server")
    served = secure(Script(endless=True), **pair.variables)
    first = pair.serial
    assert served.serial() == first
    with (
        httpx.Client(base_url=f"https://localhost:{served.port}", verify=trusting(pair)) as client,
        client.stream("POST", "/v1/chat/completions", json=CHAT) as running,
    ):
        lines = running.iter_lines()
        next(lines)
        pair.write()
        served.look() if how == "look" else served.reload()
        assert served.serial() == pair.serial != first
        next(lines)  # what began with the old one goes on
    eventually(lambda: served.engine.running() == 0)


@pytest.mark.parametrize("broken", ["another key", "no PEM", "gone", "no key"])
def test_a_broken_pair_leaves_the_old_one(
    secure: Secure, make_pair: MakePair, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair("server")
    served = secure(**pair.variables)
    first, key = pair.serial, pair.key.read_bytes()
    pair.write()
    if broken == "another key":
        pair.key.write_bytes(key)
    elif broken == "no PEM":
        pair.cert.write_text("certificate")
    elif broken == "no key":
        pair.key.unlink()
    else:
        pair.cert.unlink()
    for _ in range(2):
        served.look()
        assert served.serial() == first
    assert caplog.text.count("The old certificate goes on: TLS_") == 1
    pair.write()
    served.look()
    assert served.serial() == pair.serial


@pytest.mark.parametrize("then", ["replaced", "gone"])
def test_files_that_change_while_they_are_read_are_a_whole_pair(
    secure: Secure, make_pair: MakePair, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    pair = make_pair("server")
    served = secure(**pair.variables)
    pair.write()
    wanted, trust, read = pair.serial, trusting(pair), tls._read

    def change(named: str, path: str) -> bytes:
        content = read(named, path)
        if path == str(pair.key):
            pair.write() if then == "replaced" else pair.key.unlink()
        return content

    with monkeypatch.context() as patched:
        patched.setattr(tls, "_read", change)
        served.look()
    assert served.serial() == wanted
    assert httpx.get(f"https://localhost:{served.port}/health", verify=trust).status_code == 200
    pair.write()
    served.look()
    assert served.serial() == pair.serial


def test_a_fault_that_is_not_the_files_own_is_told_and_tried_again(
    secure: Secure, make_pair: MakePair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair("server")
    served = secure(**pair.variables)
    first = pair.serial
    pair.write()

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "NamedTemporaryFile", fail)
        served.look()
    assert served.serial() == first
    assert "The old certificate goes on: " in caplog.text
    assert "No space left on device." in caplog.text
    served.look()
    assert served.serial() == pair.serial


def test_only_clients_with_a_certificate_may_connect(secure: Secure, make_pair: MakePair) -> None:
    pair, known, stranger = (make_pair(name) for name in ("server", "known", "stranger"))
    served = secure(**pair.variables, tls_client_ca=str(known.cert))

    def ask(own: Pair | None) -> httpx.Response:
        context = trusting(pair)
        if own is not None:
            context.load_cert_chain(own.cert, own.key)
        with httpx.Client(verify=context) as client:
            return client.get(f"https://localhost:{served.port}/health")

    assert ask(known).status_code == 200
    for own in (None, stranger):
        with pytest.raises(httpx.TransportError):
            ask(own)


def test_a_stream_that_is_not_read_is_cut_over_tls_too(secure: Secure, make_pair: MakePair) -> None:
    pair = make_pair("server")
    served = secure(Script(endless=True), **pair.variables, max_unread_bytes=64 * 1024)
    body = json.dumps(CHAT).encode()
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(20)
        plain.connect(("127.0.0.1", served.port))
        connection = trusting(pair).wrap_socket(plain, server_hostname="localhost")
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
        connection.sendall(b"content-length: %d\r\n\r\n%b" % (len(body), body))
        eventually(lambda: served.engine.cancelled == 1, 30)
        connection.close()


@pytest.mark.parametrize("own", [{}, {"body": True}])
def test_a_slow_client_is_ended_over_tls_too(secure: Secure, make_pair: MakePair, own: dict[str, bool]) -> None:
    pair = make_pair("server")
    served = secure(**pair.variables, header_timeout_s=0.3, body_timeout_s=0.3)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as plain:
        connection = trusting(pair).wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=True)
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n")
        if own:
            connection.sendall(b"\r\n")
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except OSError:
            pass  # cut, without TLS's own farewell
        assert received.startswith(b"HTTP/1.1 408") == bool(own)
        connection.close()


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01"])
def test_a_handshake_that_does_not_come_ends_the_connection(secure: Secure, make_pair: MakePair, begun: bytes) -> None:
    served = secure(**make_pair("server").variables, header_timeout_s=0.3)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as plain:
        plain.sendall(begun)
        with contextlib.suppress(ConnectionResetError):
            assert plain.recv(1) == b""
    assert not vars(served.loop).get("create_server")


@pytest.mark.parametrize(
    ("given", "begins"),
    [
        (("cert",), "TLS_CERT needs TLS_KEY"),
        (("key",), "TLS_KEY needs TLS_CERT"),
        (("ca",), "TLS_CLIENT_CA needs TLS_CERT and TLS_KEY"),
        (("password",), "TLS_KEY_PASSWORD needs TLS_CERT and TLS_KEY"),
        (("missing", "key"), "TLS_CERT names /no/such.crt, which can't be read: No such file"),
        (("cert", "other"), "TLS_KEY names {other}, which is not the key of TLS_CERT {cert}."),
        (("cert", "locked"), "TLS_KEY names {locked}, which TLS_KEY_PASSWORD does not open."),
        (("cert", "cert_as_key"), "TLS_KEY names {cert}, which holds no private key in PEM form."),
        (("cert", "key", "no_ca"), "TLS_CLIENT_CA names {no_ca}, which holds no certificates in PEM form"),
        (("cert", "key", "password", "ca"), None),
    ],
)
def test_what_cant_be_served_is_refused(
    settings: Settings, make_pair: MakePair, given: tuple[str, ...], begins: str | None
) -> None:
    pair, other = make_pair("server"), make_pair("other")
    locked = make_pair("locked", b"secret")
    no_ca = pair.cert.with_name("ca.txt")
    no_ca.write_text("none")
    values: dict[str, tuple[str, object]] = {
        "cert": ("tls_cert", str(pair.cert)),
        "key": ("tls_key", str(pair.key)),
        "missing": ("tls_cert", "/no/such.crt"),
        "cert_as_key": ("tls_key", str(pair.cert)),
        "other": ("tls_key", str(other.key)),
        "locked": ("tls_key", str(locked.key)),
        "ca": ("tls_client_ca", str(other.cert)),
        "no_ca": ("tls_client_ca", str(no_ca)),
        "password": ("tls_key_password", SecretStr("secret")),
    }
    own = settings.model_copy(update={"port": free_port(), **dict(values[name] for name in given)})
    found = list(verdicts.problems(own))
    if begins is None:
        assert found == []
        return
    (problem,) = found
    paths = {"cert": pair.cert, "other": other.key, "locked": locked.key, "no_ca": no_ca}
    assert problem.startswith(begins.format(**paths))
    assert problem.endswith(".")
    assert "secret" not in problem


def test_a_key_may_have_a_password(make_pair: MakePair) -> None:
    locked = make_pair("locked", b"secret")
    assert tls.Certificate(str(locked.cert), str(locked.key), "secret").context is not None
    for wrong in (None, "another"):
        with pytest.raises(ConfigError, match="TLS_KEY_PASSWORD does not open"):
            tls.Certificate(str(locked.cert), str(locked.key), wrong)


def test_files_that_are_swapped_by_a_link_are_seen(make_pair: MakePair, tmp_path: Path) -> None:
    """As Kubernetes does."""
    pairs = [make_pair(name) for name in ("a", "b")]
    os.utime(pairs[1].cert, ns=(pairs[0].cert.stat().st_mtime_ns,) * 2)
    link, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    link.symlink_to(pairs[0].cert)
    key.symlink_to(pairs[0].key)
    certificate = tls.Certificate(str(link), str(key))
    before = certificate._read_stamp()
    for path, target in ((link, pairs[1].cert), (key, pairs[1].key)):
        path.unlink()
        path.symlink_to(target)
    assert certificate._read_stamp() != before
    asyncio.run(certificate.look())
    assert certificate._read_stamp() == certificate._stamp
