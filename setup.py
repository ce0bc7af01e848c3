"""What pyproject.toml can't tell setuptools: the folders beside the code go into the wheel, as kodify/shipped/."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("migrations", "preprocess_configs")
ROOT = Path(__file__).parent


class BuildWithFolders(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable install finds the checkout's own
            for name in SHIPPED:
                place = Path(self.build_lib) / "kodify" / "shipped" / name
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithFolders})
