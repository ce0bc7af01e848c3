"""`kodify doctor`: a sound installation, and each thing that can be wrong with one."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
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
from kodify.doctor import examine, host, server
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
    assert {"engine", "models", "clock", "users", "journal", "chats", "disk", "spool", "certificate"} == set(found)


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
    assert [one.state for one in findings if one.about == "users"] == ["failed"]
    assert "secret" not in str(findings)


@contextlib.contextmanager
def answering(status: int, date: str) -> Iterator[str]:
    """A server whose probes say that."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(
                {"version": "0", "message": "It loads.", "models": ["m"], "device": "cpu", "running": 0, "waiting": 0}
                | {"left_out": {"embedder": "no folder"}}
            ).encode()
            self.send_response_only(status)
            self.send_header("Date", date)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


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


def test_a_disk_without_room(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = applied(settings, {"DATA_PATH": str(tmp_path / "not" / "yet")})
    assert [one.state for one in host.look(own) if one.about == "disk"] == ["ok"]
    monkeypatch.setattr(host, "LEAST_FREE", 1.0)
    monkeypatch.setattr(host, "LEAST_FREE_BYTES", 1 << 60)
    assert [one.state for one in host.look(own) if one.about == "disk"] == ["failed"]


@pytest.mark.parametrize(("days", "state"), [(365, "ok"), (5, "warning"), (-1, "failed")])
def test_a_certificate(settings: Settings, tmp_path: Path, days: int, state: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kodify.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (tmp_path / "key.pem").write_bytes(pem)
    own = applied(settings, {"TLS_CERT": str(tmp_path / "cert.pem"), "TLS_KEY": str(tmp_path / "key.pem")})
    assert [one.state for one in host.look(own) if one.about == "certificate"] == [state]


def test_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with answering(200, formatdate(usegmt=True)) as url:
        good = CliRunner().invoke(app, ["doctor", "--url", url, "--json"])
    bad = CliRunner().invoke(app, ["doctor", "--url", url])
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert {"engine", "disk"} <= {one["about"] for one in json.loads(good.output)}
    assert "failed   server:" in bad.output
