"""The bill of materials: what is locked, all of it, and nothing that only developers need."""

from __future__ import annotations

import runpy
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from .conftest import ROOT

SBOM = runpy.run_path(str(ROOT / "scripts" / "sbom.py"))
INSTALLED: dict[str, Any] = {
    "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "metadata": {"component": {"bom-ref": "root", "name": "kodify", "type": "application"}},
    "components": [
        {"bom-ref": "A-B", "name": "A_B", "version": "1", "type": "library", "licenses": [{"license": {"id": "MIT"}}]},
        {"bom-ref": "dev", "name": "pytest", "version": "9", "type": "library"},
        {"bom-ref": "old", "name": "torch", "version": "1", "type": "library"},
    ],
    "dependencies": [{"ref": "root", "dependsOn": ["A-B", "dev", "old"]}, {"ref": "A-B"}, {"ref": "dev"}],
}


def test_the_locked_packages_and_no_others() -> None:
    document = SBOM["narrowed"](INSTALLED, {"a-b": "1", "torch": "2+cpu"})
    shown = [(part["name"], part["version"], "licenses" in part) for part in document["components"]]
    assert shown == [("A_B", "1", True), ("torch", "2+cpu", False)]
    assert document["dependencies"] == [{"ref": "root", "dependsOn": ["A-B"]}, {"ref": "A-B", "dependsOn": []}]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(SBOM["json"].dumps(document)) is None


def test_every_line_of_a_lock_is_read() -> None:
    for accel in ("cpu", "cuda"):
        text = (ROOT / "requirements" / f"{accel}.txt").read_text(encoding="utf-8")
        assert len(dict(SBOM["_pins"](text))) == len(text.split("\n")) - 1
