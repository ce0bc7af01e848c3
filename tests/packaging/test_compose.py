"""The image and compose.yaml: what they name exists, in the checkout, in the settings, in the examples."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from qdrant_client.common.version_check import is_compatible

from kodify import verdicts
from kodify.settings import Settings
from tests.conftest import free_port

from .conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "configs" / "env").glob("*.env"))
PROFILES = {"cpu", "monitoring", "retrieval", "tls", "nextchat"}
MADE_BY_THE_ADMINISTRATOR = {"./config.yml", "./models", "./certificates"}  # the documents say how
STAGES = runpy.run_path(str(ROOT / "scripts" / "image.py"))["stages"](CONTAINERFILE)
OURS = {field.alias for field in Settings.model_fields.values()}


def variables(path: Path) -> dict[str, str]:
    """Those that are commented out too."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {found[1]: found[2] for line in lines if (found := re.match(r"#?([A-Z][A-Z0-9_]*)=(.*)", line))}


def interpolated() -> set[str]:
    return set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "compose.yaml").read_text(encoding="utf-8")))


def test_the_profiles_are_the_documented_ones() -> None:
    assert {profile for service in COMPOSE["services"].values() for profile in service.get("profiles", [])} == PROFILES


def test_kodify_has_the_gpus_and_memory_that_its_processes_share() -> None:
    kodify = COMPOSE["services"]["kodify"]
    (device,) = kodify["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert (kodify["shm_size"], kodify["env_file"]) == ("10g", ".env")
    assert "./config.yml:/vllm-workspace/config.yml:ro" in kodify["volumes"]


def test_every_path_that_compose_mounts_exists_and_every_volume_is_declared() -> None:
    mounted = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", [])]
    for mount in mounted:
        source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", mount).split(":")[0]
        if source.startswith("."):
            assert source in MADE_BY_THE_ADMINISTRATOR or (ROOT / source).exists(), mount
        else:
            assert source.startswith("/") or source in COMPOSE["volumes"], mount


def test_every_variable_that_compose_names_is_in_an_example_or_has_a_default() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    with_default = set(re.findall(r"\$\{([A-Z0-9_]+):-", text))
    assert interpolated() - with_default <= set(variables(ROOT / "configs" / "env" / "company.env"))
    assert {service["build"]["target"] for service in COMPOSE["services"].values() if "build" in service} <= set(STAGES)


def tag(service: str) -> str:
    found = re.fullmatch(r"\$\{\w+:-[^:}]+:([^:}]+)\}", COMPOSE["services"][service]["image"])
    assert found, service
    return found[1]


def test_every_image_of_others_names_a_version() -> None:
    others = [name for name, service in COMPOSE["services"].items() if "build" not in service]
    assert len(others) > 5
    assert [name for name in others if not re.match(r"v?\d+\.\d+", tag(name))] == []


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_qdrants_client_accepts_the_server(accelerator: str) -> None:
    """By the client's own rule: one major version, minor ones that differ by one at most."""
    locked = (ROOT / "requirements" / f"{accelerator}.txt").read_text(encoding="utf-8")
    (client,) = re.findall(r"^qdrant-client==(\S+)", locked, re.M)
    assert is_compatible(client, tag("qdrant").removeprefix("v"))
    assert not is_compatible(client, "1.12.4")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_names_only_variables_that_there_are_and_kodify_would_start_with_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert set(variables(path)) <= OURS | interpolated()
    for name in OURS:
        if name:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "preprocess_configs", "preprocess_configs")
    Path("model").mkdir()
    Path("model/config.json").write_text("{}")
    Path("config.yml").write_text((ROOT / "configs" / "compose" / "config.yml").read_text(encoding="utf-8"))
    Path(".env").write_text(path.read_text(encoding="utf-8"))
    monkeypatch.setenv("MODEL", "./model")  # the example's is the container's
    monkeypatch.setenv("PORT", str(free_port()))
    settings = Settings.load()
    assert not list(verdicts.problems(settings))
    assert settings.mtsai_auth or settings.vllm_api_key is not None
    assert settings.file.tabby.model_name in settings.served_names


def test_the_passwords_of_the_example_agree() -> None:
    given = variables(ROOT / "configs" / "env" / "company.env")
    assert given["LOGS_DB_PASSWORD"] == given["POSTGRES_PASSWORD"]
    assert f":{given['POSTGRES_PASSWORD']}@postgres:5432/" in given["DB_URL"]


def test_the_image_copies_what_there_is_and_runs_as_nobody_in_particular() -> None:
    for _, steps in STAGES.values():
        for word, rest in steps:
            if word == "COPY" and "--from" not in rest:
                for source in rest.split()[:-1]:
                    assert (ROOT / source).exists(), source
    assert {"cpu", "cuda"} <= set(STAGES)
    for target in ("cpu", "cuda"):
        assert STAGES[target][0] == "runtime"
    runtime = dict(STAGES["runtime"][1])
    assert (runtime["USER"], runtime["WORKDIR"]) == ("10001:10001", "/vllm-workspace")
    assert json.loads(runtime["HEALTHCHECK"].partition(" CMD ")[2]) == ["python", "/opt/health.py"]
    named = {name for word, rest in STAGES["runtime"][1] if word == "ENV" for name in re.findall(r"(\w+)=", rest)}
    assert named <= OURS | {"PATH", "HOME", "PYTHONUNBUFFERED"}


def test_what_the_image_needs_is_not_left_out_of_the_build() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for _, steps in STAGES.values():
        for word, rest in steps:
            if word == "COPY" and "--from" not in rest:
                for source in rest.split()[:-1]:
                    assert any(source == one or source.startswith(f"{one}/") for one in kept), source


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", ROOT / "Containerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_compose_understands_it(tmp_path: Path) -> None:
    command = _compose()
    for name in ("compose.yaml", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".env").write_text((ROOT / "configs" / "env" / "company.env").read_text(encoding="utf-8"))
    (tmp_path / "config.yml").write_text("")
    given = {name: value for name, value in os.environ.items() if name not in OURS | interpolated()}
    profiles = [part for profile in sorted(PROFILES) for part in ("--profile", profile)]
    done = subprocess.run(
        [*command, "-f", "compose.yaml", *profiles, "config"], cwd=tmp_path, env=given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    understood = yaml.safe_load(done.stdout)["services"]
    assert set(understood) == set(COMPOSE["services"])
    assert understood["kodify"]["environment"]["AUTH_TYPE"] == "DB"


def _compose() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    if os.environ.get("CI"):
        pytest.fail("neither `docker compose` nor docker-compose is here: `make test` as root installs one")
    pytest.skip("neither `docker compose` nor docker-compose is here")
