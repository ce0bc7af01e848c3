"""The agent of Tabby's plugins, installed once for each version of package-lock.json."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ide.agent import LineAgent, Spoken

HERE = Path(__file__).parent
PACKAGES = ("package.json", "package-lock.json")


@pytest.fixture(scope="session")
def agent_cli(request: pytest.FixtureRequest) -> Path:
    if shutil.which("npm") is None:
        if "CI" in os.environ:
            pytest.fail("npm is missing: `make test` installs it where apt-get is there")
        pytest.skip("needs Node.js 18 or newer, with npm")
    wanted = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in PACKAGES)).hexdigest()[:16]
    cache = request.config.cache
    assert cache is not None
    kept = cache.mkdir("tabby-agent")
    folder = kept / wanted
    if not folder.exists():
        making = Path(tempfile.mkdtemp(dir=kept))
        for name in PACKAGES:
            shutil.copy(HERE / name, making)
        words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        ended = subprocess.run(words, cwd=making, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        with contextlib.suppress(OSError):  # another run was quicker
            making.rename(folder)
        shutil.rmtree(making, ignore_errors=True)
    return folder / "node_modules" / "tabby-agent" / "dist" / "cli.js"


StartAgent = Callable[..., Any]


@pytest.fixture
def start_agent(agent_cli: Path, tmp_path: Path) -> Iterator[StartAgent]:
    """start_agent(config, kind): with a home of its own; ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(config: str, kind: type[Spoken] = LineAgent) -> Spoken:
            agent = kind(agent_cli, Path(tempfile.mkdtemp(dir=tmp_path)), config)
            stack.callback(agent.close)
            return agent

        yield start
