"""`kodify doctor`: a sound installation, and each thing that can be wrong with one."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import json
import os
import re
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from typer.testing import CliRunner

from kodify.cli import app
from kodify.db import migrations
from kodify.db.condition import Condition
from kodify.db.journal_tables import SCHEMA
from kodify.db.places import journal_database
from kodify.doctor import certificates, collections, databases, examine, host, server
from kodify.settings import Settings
from tests.conftest import Serve, eventually, free_port

from .conftest import Place


@pytest.fixture
def installed(place: Place, settings: Settings, users: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The variables of an installation with users and a journal, before anything is migrated."""
    return {**place.variables, **users, "DATA_PATH": str(tmp_path)}


def applied(settings: Settings, variables: dict[str, Any]) -> Settings:
    names = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    return settings.model_copy(update={names[key]: value for key, value in variables.items()})


def states(settings: Settings, url: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for finding in examine(settings, url):
        assert finding.sentence.endswith("."), finding
        found[finding.about] = finding.state
    return found


def test_a_sound_installation(installed: dict[str, Any], serve: Serve, settings: Settings) -> None:
    own = applied(settings, installed)
    served = serve(**installed)
    with served.client() as client:
        eventually(lambda: client.get("/ready").status_code == 200)
    found = states(own, served.url)
    assert set(found.values()) == {"ok"}, found
    about = {"engine", "models", "clock", "settings", "users", "journal", "chats", "disk", "spool", "certificate"}
    assert about == set(found)


def test_tables_that_were_never_made(settings: Settings, installed: dict[str, Any]) -> None:
    found = states(applied(settings, installed), f"http://127.0.0.1:{free_port()}")
    assert {found[about] for about in ("server", "users", "journal", "chats")} == {"failed"}


def test_a_database_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    own = applied(
        settings,
        {
            "MTSAI_AUTH": True,
            "AUTH_TYPE": "DB",
            "DB_URL": SecretStr(f"postgresql://a:secret@127.0.0.1:{free_port()}/x"),
            "DATA_PATH": str(tmp_path),
        },
    )
    findings = list(examine(own, f"http://127.0.0.1:{free_port()}"))
    (users,) = [one for one in findings if one.about == "users"]
    assert users.state == "failed"
    assert "See whether it runs" in users.sentence
    assert "secret" not in str(findings)


def migrated(settings: Settings, place: Place) -> Settings:
    own = applied(settings, place.variables)
    database = journal_database(own)
    database.find(make=True)
    migrations.prepare(database, SCHEMA, migrate=True)
    return own


def journal_of(settings: Settings) -> tuple[str, str]:
    (found,) = databases.look(settings)
    return found.state, found.sentence


@pytest.mark.parametrize(
    ("version", "says"),
    [("0001", "out of date: run `kodify migrate`"), ("9999", "by a newer Kodify (9999): upgrade")],
)
def test_tables_of_another_version(place: Place, settings: Settings, version: str, says: str) -> None:
    own = migrated(settings, place)
    assert journal_of(own)[0] == "ok"
    place.rows("UPDATE journal_version SET version_num = %s", version)
    state, sentence = journal_of(own)
    assert state == "failed"
    assert says in sentence


def test_tables_of_somebody_else(place: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    own = migrated(settings, place)
    place.rows("CREATE ROLE stranger LOGIN PASSWORD 'none'")
    try:
        state, sentence = journal_of(own.model_copy(update={"logs_db_username": "stranger"}))
    finally:
        place.rows("DROP ROLE stranger")
    assert state == "failed"
    assert "See whether the role owns them." in sentence


def test_a_migration_that_hangs_is_not_waited_for(place: Place, settings: Settings) -> None:
    own = migrated(settings, place)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with migrations.locked(journal_database_found(own), SCHEMA):
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(30)
        assert journal_of(own)[0] == "ok"
    finally:
        done.set()
        thread.join()


def journal_database_found(settings: Settings) -> Any:
    database = journal_database(settings)
    database.find(make=False)
    return database


def test_settings_with_which_kodify_would_not_start_again(settings: Settings, tmp_path: Path) -> None:
    """No users where they are wanted is not `none is configured`."""
    broken = {"MTSAI_AUTH": True, "AUTH_TYPE": "DB", "MODEL": str(tmp_path / "gone"), "DATA_PATH": str(tmp_path)}
    findings = list(examine(applied(settings, broken), f"http://127.0.0.1:{free_port()}"))
    said = {one.sentence for one in findings if (one.about, one.state) == ("settings", "failed")}
    assert any("gone, which is not a folder here" in sentence for sentence in said)
    assert any("needs DB_URL" in sentence for sentence in said)
    assert "databases" not in {one.about for one in findings}


@contextlib.contextmanager
def answering(
    status: int, date: str, answer: bytes | None = None, pair: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """A server whose probes say that; by TLS where it has a certificate and its key."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (
                answer
                or json.dumps(
                    {
                        "version": "0",
                        "message": "It loads.",
                        "models": ["m"],
                        "device": "cpu",
                        "running": 0,
                        "waiting": 0,
                    }
                    | {"left_out": {"embedder": "no folder"}}
                ).encode()
            )
            self.send_response_only(status)
            self.send_header("Date", date)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*pair)
            running.socket = context.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"{'https' if pair else 'http'}://127.0.0.1:{running.server_port}"
        running.shutdown()


def sentence_of(settings: Settings, url: str, ca: Path | None = None) -> str:
    """The only one, which says what failed."""
    (found,) = server.look(settings, url, str(ca) if ca is not None else None)
    assert found.state == "failed"
    return found.sentence


def test_a_server_that_is_another_or_is_asked_wrongly(settings: Settings, tmp_path: Path) -> None:
    now = formatdate(usegmt=True)
    with answering(200, now, b"<html>A printer</html>") as url:
        found = {one.about: one.sentence for one in server.look(settings, url, None)}
        assert "is not Kodify's" in found["engine"]
    assert "is no address" in sentence_of(settings, "kodify.example.com")
    assert "start it, or name it" in sentence_of(settings, f"http://127.0.0.1:{free_port()}")
    assert "no file of certificates" in sentence_of(settings, "https://127.0.0.1", tmp_path / "none")
    pair = certificate(tmp_path, timedelta(days=-9), timedelta(days=9))
    with answering(200, now, pair=pair) as url:
        assert "is not trusted (self-signed certificate)" in sentence_of(settings, url)
        assert "if it has TLS" in sentence_of(settings, url.replace("https", "http"))
        assert "engine" in {one.about for one in server.look(settings, url, str(pair[0]))}
    pair = certificate(tmp_path, timedelta(days=-9), timedelta(days=-1))
    with answering(200, now, pair=pair) as url:
        assert "certificate has expired" in sentence_of(settings, url, pair[0])


@pytest.mark.parametrize(
    ("version", "key", "state"),
    [
        ("1.19.1", "right", "ok"),
        ("1.12.4", "right", "warning"),
        ("1.19.1", "wrong", "failed"),
        (None, "right", "failed"),
    ],
)
def test_qdrant(settings: Settings, version: str | None, key: str, state: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200 if self.path == "/" or self.headers["api-key"] == "right" else 401)
            body = json.dumps({"title": "qdrant", "version": version} if version else []).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    assert list(collections.look(settings)) == []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}"
        own = applied(settings, {"QDRANT_URL": SecretStr(url), "QDRANT_API_KEY": SecretStr(key)})
        (found,) = collections.look(own)
        running.shutdown()
    assert found.state == state, found
    assert key not in found.sentence


def test_a_qdrant_that_is_not_there(settings: Settings) -> None:
    own = applied(settings, {"QDRANT_URL": SecretStr(f"http://user:secret@127.0.0.1:{free_port()}")})
    (found,) = collections.look(own)
    assert found.state == "failed"
    assert "secret" not in found.sentence


def test_a_server_that_loads_and_one_whose_clock_is_wrong(settings: Settings) -> None:
    with answering(503, formatdate(usegmt=True)) as url:
        found = {one.about: one for one in server.look(settings, url, None)}
        assert (found["engine"].state, found["readiness"].state) == ("failed", "warning")
        assert "It loads." in found["engine"].sentence
    with answering(200, formatdate(time.time() - 120, usegmt=True)) as url:
        found = {one.about: one for one in server.look(settings, url, None)}
        assert re.search(r"1[23]\d s behind", found["clock"].sentence)
        assert (found["clock"].state, found["version"].state) == ("warning", "warning")


def test_a_spool_that_is_nearly_full_and_entries_set_aside(settings: Settings, tmp_path: Path) -> None:
    own = applied(settings, {"LOGS": True, "DATA_PATH": str(tmp_path), "LOGS_SPOOL_BYTES": 1024 * 1024})
    assert [one.state for one in host.look(own) if one.about == "spool"] == ["warning"]
    (tmp_path / "journal" / "1").mkdir(parents=True)
    (tmp_path / "journal" / "1" / "000001.spool").write_bytes(b"0" * 900 * 1024)
    (tmp_path / "journal" / "quarantine.jsonl").write_text("{}\n")
    assert [one.state for one in host.look(own) if one.about == "spool"] == ["failed", "warning"]


def test_a_spool_of_another_user(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may everything."""
    (tmp_path / "journal").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.F_OK)
    own = applied(settings, {"LOGS": True, "DATA_PATH": str(tmp_path)})
    (spool,) = [one for one in host.look(own) if one.about == "spool"]
    assert (spool.state, "run this as the server's user" in spool.sentence) == ("failed", True)


@pytest.mark.parametrize(
    ("ahead_s", "connections", "about"),
    [(0.0, 10, ()), (-61.0, 10, ("users, clock",)), (61.0, 95, ("users, clock", "users, connections"))],
)
def test_a_databases_clock_and_connections(
    ahead_s: float, connections: int, about: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    seen = Condition("18.4", ahead_s, connections, 100)
    monkeypatch.setattr(databases, "examine", lambda database, tables: seen)
    own = applied(settings, {"MTSAI_AUTH": True, "AUTH_TYPE": "DB", "DB_URL": SecretStr("postgresql://a@127.0.0.1/x")})
    found = [one for one in databases.look(own) if one.about.startswith("users")]
    assert [one.state for one in found] == ["ok", *["warning"] * len(about)]
    assert tuple(one.about for one in found[1:]) == about
    assert all("behind" in one.sentence if ahead_s < 0 else "ahead of" in one.sentence for one in found[1:2])


def test_a_disk_without_room(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = applied(settings, {"DATA_PATH": str(tmp_path / "not" / "yet")})
    assert [one.state for one in host.look(own) if one.about == "disk"] == ["ok"]
    monkeypatch.setattr(host, "LEAST_FREE", 1.0)
    monkeypatch.setattr(host, "LEAST_FREE_BYTES", 1 << 60)
    assert [one.state for one in host.look(own) if one.about == "disk"] == ["failed"]


def test_a_folder_that_can_not_be_written(settings: Settings) -> None:
    own = applied(settings, {"LOGS": True, "DATA_PATH": "/proc/kodify"})
    found = {one.about: one for one in host.look(own)}
    assert found["disk"].state == "failed"
    assert "can't be written" in found["disk"].sentence


def certificate(folder: Path, begins: timedelta, ends: timedelta) -> tuple[Path, Path]:
    """Signed by itself, with its key; from now on counted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kodify.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "key.pem").write_bytes(pem)
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    ("begins", "ends", "state"),
    [(-9, 365, "ok"), (-9, 5, "warning"), (-9, -1, "failed"), (2, 365, "failed")],
)
def test_a_certificate(settings: Settings, tmp_path: Path, begins: int, ends: int, state: str) -> None:
    cert, key = certificate(tmp_path, timedelta(days=begins), timedelta(days=ends))
    own = applied(settings, {"TLS_CERT": str(cert), "TLS_KEY": str(key)})
    assert [one.state for one in certificates.look(own)] == [state]
    own = applied(settings, {"TLS_CERT": str(cert), "TLS_KEY": str(key), "TLS_CLIENT_CA": str(cert)})
    assert [(one.about, one.state) for one in certificates.look(own)][1:] == [("clients' authority", state)]
    key.unlink()
    (found,) = certificates.look(own)
    assert (found.state, "TLS_KEY names" in found.sentence) == ("failed", True)


def test_authorities_are_those_that_ssl_cert_file_names(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = applied(settings, {"OIDC_DISCOVERY_URL": "https://sso.example.com/.well-known/openid-configuration"})
    cert, _ = certificate(tmp_path, timedelta(days=-9), timedelta(days=9))
    for path, state in ((cert, "ok"), (tmp_path / "none.pem", "failed"), (tmp_path / "key.pem", "failed")):
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        found = {one.about: one for one in certificates.look(own)}["authorities"]
        assert found.state == state, found
        assert str(path) in found.sentence


def test_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with answering(200, formatdate(usegmt=True)) as url:
        good = CliRunner().invoke(app, ["doctor", "--url", url, "--json"])
    bad = CliRunner().invoke(app, ["doctor", "--url", url])
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert {"engine", "disk"} <= {one["about"] for one in json.loads(good.output)}
    assert "failed   server:" in bad.output
