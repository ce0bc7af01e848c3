"""Boards and alerts: every series that they name is there, in a Kodify that answers and in exporters' lists."""

from __future__ import annotations

import asyncio
import os
import re
import runpy
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from pydantic import SecretStr
from sqlalchemy import make_url

from kodify.engine.scripted import Script
from kodify.journal import build_writer
from kodify.settings import Settings
from tests.conftest import Serve, eventually

from .boards import BOARDS, PANELS, QUERIES, SQL, missing, named
from .conftest import ROOT


@pytest.fixture
def journal(postgres: str, settings: Settings) -> Iterator[dict[str, object]]:
    """The variables of a journal in a database of its own, its tables made."""
    name, url = f"board_{uuid.uuid4().hex[:12]}", make_url(postgres)
    host = str(url.host or url.query["host"])
    place: dict[str, Any] = {
        "LOGS": True,
        "LOGS_DB_HOST": host,
        "LOGS_DB_PORT": url.port or int(str(url.query.get("port", 5432))),
        "LOGS_DB_NAME": name,
        "LOGS_DB_USERNAME": url.username,
        "LOGS_DB_PASSWORD": SecretStr(url.password or ""),
    }

    async def make() -> None:
        writer = build_writer(
            settings.model_copy(update={key.lower(): value for key, value in place.items()}), migrate=True
        )
        await writer.prepare()
        await writer.stop()

    asyncio.run(make())
    yield place
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_the_boards_are_what_the_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "boards.py"))
    assert set(BOARDS) == set(script["BOARDS"]) == {"service", "users", "journal"}
    for name, board in BOARDS.items():
        assert board == script["board"](name), "run scripts/boards.py"
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_series_of_kodify_is_there(
    journal: dict[str, object], users: dict[str, object], serve: Serve, tmp_path: Path
) -> None:
    served = serve(Script(), **journal, **users, DATA_PATH=str(tmp_path))
    with served.client() as client:
        eventually(lambda: client.post("/v1/chat/completions", json={}).status_code == 401)
        eventually(lambda: "kodify_loaded 1.0" in client.get("/metrics").text)
        text = client.get("/metrics").text
    assert not missing(text, "kodify")
    assert not missing(text, "process")
    assert missing(text, "vllm")  # or the test could not fail


@pytest.mark.parametrize(("prefix", "exporter"), [("node", "node"), ("pg", "postgres"), ("DCGM", "dcgm")])
def test_every_series_of_an_exporter_is_one_of_its_own(prefix: str, exporter: str) -> None:
    listed = (Path(__file__).parent / "exporters" / f"{exporter}.txt").read_text().split()
    assert set(named(prefix)) <= set(listed)
    assert named(prefix)


def test_every_query_of_the_journal_runs_as_the_reader(journal: dict[str, object], postgres: str) -> None:
    url = make_url(postgres).set(database=str(journal["LOGS_DB_NAME"]))
    role = f"reader_{uuid.uuid4().hex[:8]}"
    script = (ROOT / "configs/grafana/reader.sql").read_text(encoding="utf-8")
    script = script.replace("kodify_reader", role).replace(":password", "'x'")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(script)
        try:
            connection.execute(f"SET ROLE {role}")
            for title, query in SQL.items():
                columns = [column.name for column in connection.execute(_plain(query)).description or ()]
                assert len(columns) >= 2, title
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT request FROM journal")
            connection.execute("RESET ROLE")
        finally:
            connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


def _plain(query: str) -> str:
    """Grafana's macros, as its PostgreSQL source writes them out."""
    query = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN now() - interval '1 day' AND now()", query)
    query = re.sub(r"\$__timeGroupAlias\((\w+), \$__interval\)", r"""date_trunc('hour', \1) AS "time" """, query)
    assert "$" not in query
    return query


def test_every_panel_asks_a_source_that_is_provisioned() -> None:
    sources = yaml.safe_load((ROOT / "configs/grafana/provisioning/datasources/kodify.yml").read_text())["datasources"]
    known = {(source["type"], source["uid"]) for source in sources}
    for name, panel in PANELS:
        for target in panel["targets"]:
            assert (target["datasource"]["type"], target["datasource"]["uid"]) in known, (name, panel["title"])


def test_compose_gives_grafana_what_its_sources_name() -> None:
    text = (ROOT / "configs/grafana/provisioning/datasources/kodify.yml").read_text()
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(re.findall(r"\$([A-Z_]+)", text)) <= set(compose["grafana"]["environment"])
    scraped = yaml.safe_load((ROOT / "configs/prometheus/prometheus.yml").read_text())["scrape_configs"]
    hosts = {target.split(":")[0] for job in scraped for one in job["static_configs"] for target in one["targets"]}
    assert hosts <= set(compose)


def test_promtool_finds_no_fault() -> None:
    promtool = shutil.which("promtool", path=f"{ROOT / '.venv' / 'tools' / 'usr' / 'bin'}:{os.environ['PATH']}")
    if promtool is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not here: `make test` as root unpacks Debian's")
        pytest.skip("promtool is not here")
    files = ROOT / "configs" / "prometheus"
    for command in (["config", str(files / "prometheus.yml")], ["rules", str(files / "alerts.yml")]):
        done = subprocess.run([promtool, "check", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    queries = [re.sub(r"\$__(rate_)?interval", "5m", query) for query in QUERIES]
    groups = [{"name": "boards", "rules": [{"record": f"a{n}", "expr": query} for n, query in enumerate(queries)]}]
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=none", "/dev/stdin"],
        input=yaml.safe_dump({"groups": groups}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(queries)} rules found" in done.stdout
