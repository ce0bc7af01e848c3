"""The documents: links lead somewhere, tables are those of the code, commands and variables are Kodify's."""

from __future__ import annotations

import configparser
import json
import re
import runpy
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from kodify.cli import app
from kodify.settings import Settings

from .boards import RULES
from .conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUIDES = [path for path in PAGES if path.parent != ROOT and path.name != "decisions.md"]
OURS = {field.alias for field in Settings.model_fields.values() if field.alias}
COMPOSE = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "compose.yaml").read_text(encoding="utf-8")))
# Names in documents that are no settings: of other programs, of the examples, of the command line's own.
OTHERS = {
    "ACCEL", "API_TOKEN", "GF_PATHS_PROVISIONING", "JOURNAL_HOST", "JOURNAL_NAME", "KODIFY", "NO_COLOR",
    "KODIFY_SERVER", "KODIFY_TOKEN", "NODE_EXTRA_CA_CERTS", "OTEL_EXPORTER_OTLP_CERTIFICATE", "SSL_CERT_FILE",
}  # fmt: skip
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, *kinds: str) -> list[str]:
    found = _BLOCK.findall(path.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind in kinds]


def anchors(path: Path) -> set[str]:
    """As GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = _BLOCK.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def test_every_alert_has_its_page() -> None:
    for rule in RULES:
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor == rule["alert"].lower()
        assert anchor in anchors(ROOT / file), rule["alert"]
    heads = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.M)
    assert set(heads) == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize(("script", "page"), [("settings_page.py", "settings.md"), ("api_table.py", "api.md")])
def test_generated_tables_are_those_of_the_code(script: str, page: str) -> None:
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert written == runpy.run_path(str(ROOT / "scripts" / script))["page"](written), f"run scripts/{script}"


def test_the_readmes_rows_are_those_of_the_settings() -> None:
    rows = runpy.run_path(str(ROOT / "scripts" / "settings_table.py"))["rows"]()
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows if row not in readme] == []


@pytest.mark.parametrize("path", GUIDES, ids=name_of)
def test_every_variable_that_a_guide_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])(?:=[^`]*)?`", text))
    for block in blocks(path, "sh", "", "ini"):
        named |= set(re.findall(r"^\s*(?:export )?([A-Z][A-Z0-9]*_[A-Z0-9_]+)=", block, re.M))
    assert named <= OURS | COMPOSE | OTHERS, named - OURS - COMPOSE - OTHERS


def test_every_setting_is_in_the_guide_of_settings_and_in_russian() -> None:
    for name in ("settings.md", "ru/administrator.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert [alias for alias in sorted(OURS) if f"`{alias}`" not in text] == [], name


def test_the_russian_guide_has_every_alert_profile_action_and_command() -> None:
    text = (ROOT / "docs" / "ru" / "administrator.md").read_text(encoding="utf-8")
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"].values()
    profiles = {profile for service in services for profile in service.get("profiles", [])}
    actions = {path.stem for path in (ROOT / "configs" / "actions").glob("*.md")}
    wanted = {rule["alert"] for rule in RULES} | profiles | actions
    assert [name for name in sorted(wanted) if f"`{name}`" not in text] == []
    root: Any = typer.main.get_command(app)
    named = {words[0] for words in commands(ROOT / "docs" / "ru" / "administrator.md") if words}
    asked_by_developers = {"document", "tests", "review", "commit-message"}
    assert set(root.commands) - named - asked_by_developers == {"serve", "version"}


def test_composes_variables_are_in_the_guide() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    own = COMPOSE - OURS
    assert [name for name in sorted(own) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_code_blocks_can_be_read(path: Path) -> None:
    for text in blocks(path, "json"):
        for part in re.split(r"\n(?=\{)", text):
            json.loads(part.replace("…", "x"))
    for text in blocks(path, "yaml", "yml"):
        list(yaml.safe_load_all(text))
    for text in blocks(path, "python"):
        compile(text, str(path), "exec")
    for text in blocks(path, "sh", "bash"):
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def commands(path: Path) -> list[list[str]]:
    """Every `kodify …` of its blocks, as words."""
    found = []
    for text in blocks(path, "sh", "bash", ""):
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"[|;&]+|<|>", line.split(" #")[0]):
                words = re.sub(r"^.*?(?:exec(?: -T)? kodify|--rm|--) (?=kodify )", "", part.strip())
                if words.startswith(("kodify ", "docker compose run --rm kodify ")):
                    words = words.removeprefix("docker compose run --rm ")
                    found.append(shlex.split(words, posix=True)[1:])
    return found


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_and_their_options_are_there(path: Path) -> None:
    root: Any = typer.main.get_command(app)
    for words in commands(path):
        command, rest = root, list(words)
        while hasattr(command, "commands"):
            assert rest and rest[0] in command.commands, words
            command = command.commands[rest.pop(0)]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.split("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)}
        assert given <= options | {"--help"}, (words, given - options)


def test_make_targets_that_documents_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for path in PAGES:
        for text in [*blocks(path, "sh", ""), *re.findall(r"`(make [^`]+)`", path.read_text(encoding="utf-8"))]:
            for words in re.findall(r"^make ([a-z \n-]+?)(?:\s+#.*|\s+[A-Z]+=.*)?$", text, re.M):
                assert set(words.split()) <= targets, (path.name, words)


def test_the_systemd_unit_is_one() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "configs" / "systemd" / "kodify.service")
    service = unit["Service"]
    assert service["ExecStart"] == "/opt/kodify/bin/kodify serve"
    drain_s = Settings.model_fields["drain_timeout"].default
    assert int(service["TimeoutStopSec"]) > drain_s
    assert set(re.findall(r"\b([A-Z_]+)=", service["Environment"])) <= OURS | {"HOME"}
