"""The sdist and the wheel have all that serves; an installed wheel serves without the checkout."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from kodify import __version__
from tests.conftest import free_port
from tests.integration.conftest import Process, environment

from .conftest import ROOT

PASSWORD = "a long enough password"


def files_of(*folders: str) -> set[str]:
    """Of the checkout."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_every_file_of_the_package_and_of_the_folders_beside_it(wheel: Path) -> None:
    beside = {f"kodify/shipped/{name}" for name in files_of("migrations", "preprocess_configs")}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.name == f"kodify-{__version__}-py3-none-any.whl"
    assert files_of("kodify") | beside <= names
    assert not [name for name in names if not name.startswith(("kodify/", f"kodify-{__version__}.dist-info/"))]


def test_the_sdist_has_what_an_administrator_needs_beside_the_wheel(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files_of("kodify", "migrations", "preprocess_configs", "configs", "docs", "requirements", "scripts") <= names
    assert {"LICENSE", "CHANGELOG.md", "SECURITY.md", "README.md", "Makefile"} <= names


@pytest.mark.engine
def test_an_installed_wheel_serves_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    """Users, journal, migrations, a preset, actions, the page: nothing of it is found in the checkout."""
    variables = environment(
        MTSAI_AUTH="true",
        AUTH_TYPE="DB",
        DB_URL="embedded",
        LOGS="True",
        LOGS_DB_HOST="embedded",
        COMPLETIONS_PREPROCESSING_CONFIG="preprocess_configs/qwen.json",
    )
    variables.pop("PYTHONPATH", None)

    def run(*command: str, given: str = "") -> str:
        done = subprocess.run(
            [installed / command[0], *command[1:]],
            env=variables,
            cwd=tmp_path,
            input=given,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    where = "import sys, pathlib; print(*(p for p in sys.path if (pathlib.Path(p) / 'kodify' / 'app.py').exists()))"
    assert run("python", "-c", where).startswith(str(installed.parent))
    assert len(run("python", "-c", where).split()) == 1
    assert "Kodify would start." in run("kodify", "check", "--port", str(free_port()))
    assert "--collection" in run("kodify", "index", "--help")
    assert "up to date: users, journal, chats" in run("kodify", "migrate")
    scripts = next(installed.parent.glob("lib/python*/site-packages/kodify/shipped/migrations/alembic.ini"))
    for name in ("alembic", "users", "chats"):
        run("python", "-m", "alembic", "-c", str(scripts), "-n", name, "current", "--check-heads")
    create = ("users", "create", "--email", "root@example.com", "--days", "9", "--privileged", "--password-stdin")
    token = json.loads(run("kodify", *create, "--json", given=PASSWORD + "\n"))["token"]

    port, log = free_port(), tmp_path / "kodify.log"
    with log.open("w") as output:
        command = [str(installed / "kodify"), "serve", "--port", str(port)]
        popen = subprocess.Popen(command, env=variables, cwd=tmp_path, stdout=output, stderr=output, text=True)
    process = Process(popen, port, log)
    try:
        process.wait_until_healthy()
        body = {"language": "python", "segments": {"prefix": "def add(a, b):\n    return ", "suffix": "\n"}}
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.post(f"{process.url}/v1/completions", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["text"]
        found = run("kodify", "doctor", "--url", process.url)
        assert {line.split()[0] for line in found.splitlines()} == {"ok"}, found
        with httpx.Client(base_url=process.url, headers=headers) as client:
            actions = client.get("/v1/actions").json()
            assert "document" in json.dumps(actions)
            page = client.get("/").text
            parts = set(re.findall(r'(?:href|src)="(/[^"]+\.(?:css|js|svg)[^"]*)"', page))
            assert parts
            assert {client.get(part).status_code for part in parts} == {200}
        assert process.stop() == 0
    finally:
        process.popen.kill()
    assert "qwen (configured)" in log.read_text()
    assert answer.headers["x-request-id"] in run("kodify", "journal", "tail", "--json")
