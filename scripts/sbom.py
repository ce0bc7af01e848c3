"""Writes a serving installation's bill of materials (CycloneDX 1.6): the locked packages of requirements/ACCEL.txt,
with licences and dependencies as far as they are installed here. Asks nothing of the network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kodify import __version__

ROOT = Path(__file__).resolve().parents[1]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")


def main(accel: str, folder: str) -> None:
    locked = dict(_pins((ROOT / "requirements" / f"{accel}.txt").read_text(encoding="utf-8")))
    output = Path(folder) / f"kodify-{__version__}-{accel}.cdx.json"
    output.write_text(json.dumps(narrowed(_installed(), locked), indent=1) + "\n", encoding="utf-8")
    print(f"{output}: {len(locked)} packages")


def narrowed(document: dict[str, Any], locked: dict[str, str]) -> dict[str, Any]:
    """`document` with the locked packages alone; those that are not installed, by name and version."""
    known = {}
    for component in document["components"]:
        if locked.get(_plain(component["name"])) == component["version"]:
            known[_plain(component["name"])] = component
    for name, version in locked.items():
        purl = f"pkg:pypi/{name}@{version.replace('+', '%2B')}"
        component = {"bom-ref": f"{name}=={version}", "name": name, "purl": purl, "type": "library", "version": version}
        known.setdefault(name, component)
    references = {component["bom-ref"] for component in known.values()}
    root = document["metadata"]["component"]
    root["version"] = __version__
    references.add(root["bom-ref"])
    dependencies = [
        {**entry, "dependsOn": [one for one in entry.get("dependsOn", ()) if one in references]}
        for entry in document["dependencies"]
        if entry["ref"] in references
    ]
    return {**document, "components": [known[name] for name in sorted(known)], "dependencies": dependencies}


def _installed() -> dict[str, Any]:
    """Of this environment."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "environment.json"
        command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable, "--pyproject", "pyproject.toml"]
        options = ["--mc-type", "application", "--spec-version", "1.6", "--output-reproducible", "-o", str(output)]
        subprocess.run([*command, *options], cwd=ROOT, check=True)
        found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return found


def _pins(text: str) -> list[tuple[str, str]]:
    return [(_plain(found[1]), found[2]) for line in text.splitlines() if (found := _PIN.match(line))]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(*sys.argv[1:])
