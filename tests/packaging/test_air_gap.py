"""Everything starts and is used in a network namespace that has a loopback interface and no routes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

WITHOUT_NETWORK = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@pytest.mark.engine
def test_everything_works_without_a_network(tmp_path: Path) -> None:
    possible = all(map(shutil.which, ("unshare", "ip"))) and (
        subprocess.run([*WITHOUT_NETWORK, "true"], capture_output=True).returncode == 0
    )
    if not possible:
        if os.environ.get("CI"):
            pytest.fail("no network namespace can be made here")
        pytest.skip("no network namespace can be made here: it needs root, unshare and ip")
    command = [*WITHOUT_NETWORK, sys.executable, "-m", "tests.packaging.inside", str(tmp_path)]
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("network") == "none"
    assert told.pop("pages ask others") == []
    assert told.pop("stream") is True
    assert told.pop("journal") >= 8
    assert "failed" not in told.pop("doctor says")
    expected = {name: 0 if name.startswith(("kodify", "exit")) else 200 for name in told}
    assert told == expected
    assert len(told) > 20
