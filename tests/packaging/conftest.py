"""What `make dist` builds, once for the folder's tests, from a copy of the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = (".git", ".venv", "out", "dist", "build", "node_modules", "__pycache__", "*.egg-info", ".*_cache", "tests")


@pytest.fixture(scope="package")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*LEFT_OUT))
    uv = [sys.executable, "-m", "uv", "--offline", "--quiet", "build", "--no-build-isolation"]
    subprocess.run([*uv, "--python", sys.executable, "-o", folder / "built", folder / "source"], check=True)
    return folder / "built"


@pytest.fixture(scope="package")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="package")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment's `bin` with the wheel in it. The packages that Kodify needs are those of the environment that
    runs the tests, less the Kodify that is there."""
    place = tmp_path_factory.mktemp("elsewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    uv = [sys.executable, "-m", "uv", "--offline", "--quiet", "pip", "install", "--no-deps"]
    subprocess.run([*uv, "--python", place / "bin" / "python", wheel], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    # A folder named in a .pth is searched last, and its own .pth files, the editable Kodify's too, are not read.
    (packages / "borrowed.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    return place / "bin"
