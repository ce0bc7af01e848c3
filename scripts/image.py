"""Carries out the Containerfile's steps for a target without a container engine, and starts what they made.

As root on a Debian with Python 3.11, which stands in for the base image: each stage is an overlay over this machine's
files (nothing of them is changed), RUN steps run in it by chroot, the command as its USER in a network namespace that
has only a loopback interface. The last lines say what the image's own health check and a completion answered.

    python scripts/image.py cpu
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S = 900
CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"  # an image's PATH need not have it
ASK = (
    "import json, sys, urllib.request as u; print(u.urlopen(u.Request('http://127.0.0.1:8000/v1/completions', "
    'json.dumps({"model": "kodify-nano", "prompt": "if __name__ ==", "max_tokens": 8, "temperature": 0}).encode(), '
    "{'Content-Type': 'application/json'})).read().decode())"
)


@dataclass(frozen=True)
class Stage:
    files: Path  # what differs from this machine's
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    command: dict[str, list[str]] = field(default_factory=dict)  # ENTRYPOINT, CMD, HEALTHCHECK


def instructions(text: str) -> list[tuple[str, str]]:
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.M)
    return [
        (found[1], found[2].strip())
        for line in re.sub(r"\\\n", " ", lines).splitlines()
        if (found := re.match(r"([A-Z]+)\s+(.*)", line))
    ]


def stages(text: str) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Name to what it is FROM and its steps."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, rest in instructions(text):
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            steps: list[tuple[str, str]] = []
            found[name] = (parent, steps)
        elif found:
            steps.append((word, rest))
    return found


class Build:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plan = stages((ROOT / "Containerfile").read_text(encoding="utf-8"))
        self._done: dict[str, Stage] = {}

    def stage(self, name: str) -> Stage:
        if name not in self._done:
            parent, steps = self._plan[name]
            upper = self._folder / name / "upper"
            upper.mkdir(parents=True)
            if parent in self._plan:
                stage = replace(self.stage(parent), files=upper)
                _link(self.stage(parent).files, upper)
            else:
                stage = _base_image(upper)
            for word, rest in steps:
                if word in ("RUN", "COPY"):
                    print(f"[{name}] {word} {' '.join(rest.split())}", flush=True)
                stage = self._step(stage, word, rest)
            self._done[name] = stage
        return self._done[name]

    def _step(self, stage: Stage, word: str, rest: str) -> Stage:
        match word:
            case "RUN":
                with self.mounted(stage) as root:
                    self.run(root, stage, [*stage.shell, rest], user=stage.user)
            case "COPY":
                self._copy(stage, rest)
            case "ENV":
                pairs = re.findall(r"(\w+)=(\S+)", rest)
                return replace(stage, env={**stage.env, **dict(pairs)})
            case "WORKDIR":
                (stage.files / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
                return replace(stage, workdir=rest)
            case "USER":
                return replace(stage, user=rest)
            case "SHELL":
                return replace(stage, shell=tuple(json.loads(rest)))
            case "ENTRYPOINT" | "CMD":
                return replace(stage, command={**stage.command, word: json.loads(rest)})
            case "HEALTHCHECK":
                check = json.loads(rest.partition(" CMD ")[2])
                return replace(stage, command={**stage.command, word: check})
        return stage

    def _copy(self, stage: Stage, rest: str) -> None:
        *sources, target = rest.split()
        origin = ROOT
        if sources[0].startswith("--from="):
            origin = self.stage(sources.pop(0).removeprefix("--from=")).files
        place = stage.files / (target if target.startswith("/") else f"{stage.workdir}/{target}").lstrip("/")
        for source in sources:
            found = origin / source.lstrip("/")
            inside = target.endswith("/") and not found.is_dir()
            whole = place / found.name if inside else place
            whole.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                whole.mkdir(exist_ok=True)
                _link(found, whole)
            else:
                shutil.copy2(found, whole)

    def mounted(self, stage: Stage) -> _Mounted:
        return _Mounted(self._folder, stage)

    @staticmethod
    def run(root: Path, stage: Stage, command: list[str], user: str, check: bool = True) -> int:
        pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        env = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", **pip, **stage.env}
        inside = [CHROOT, f"--userspec={user}", str(root), "env", "-C", stage.workdir, *command]
        return subprocess.run(inside, env=env, check=check).returncode


class _Mounted:
    """The stage's files, with the kernel's own file systems in them."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self._root, self._work, self._stage = folder / "root", folder / "work", stage

    def __enter__(self) -> Path:
        for place in (self._root, self._work):
            place.mkdir(exist_ok=True)
        options = f"lowerdir=/,upperdir={self._stage.files},workdir={self._work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self._root], check=True)
        for kernel in ("proc", "sys", "dev"):
            subprocess.run(["mount", "--rbind", f"/{kernel}", self._root / kernel], check=True)
        return self._root

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", "-R", "-l", self._root], check=True)
        shutil.rmtree(self._work, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """The packages are gigabytes: hard links, where both are on one file system."""
    how = "-al" if source.stat().st_dev == target.stat().st_dev and ROOT not in (source, *source.parents) else "-a"
    subprocess.run(["cp", how, f"{source}/.", target], check=True)


def _base_image(upper: Path) -> Stage:
    """This machine, with its Python where the base image has it."""
    python, local = Path(sys.base_prefix) / "bin" / "python3", upper / "usr" / "local"
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder in ("bin", "lib", "include"):
        (local / folder).mkdir(parents=True)
    (local / "bin" / "python").symlink_to(python)
    for folder in ("lib", "include"):  # where an environment that is made of it looks
        (local / folder / name).symlink_to(Path(sys.base_prefix) / folder / name)
    for folder in ("", "bin", "lib", "include"):
        (local / folder).chmod(0o755)
    for parent in reversed(python.parents):  # which another user may be kept out of
        if parent != Path("/") and not parent.stat().st_mode & 0o001:
            (upper / parent.relative_to("/")).mkdir(parents=True)
            (upper / parent.relative_to("/")).chmod(0o711)
    return Stage(files=upper)


def start(build: Build, stage: Stage) -> None:
    """As the image's user, with no network. Raises where it does not serve."""
    with build.mounted(stage) as root:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        command = [*stage.command["ENTRYPOINT"], *stage.command["CMD"]]
        env = {**stage.env, "VLLM_CPU_KVCACHE_SPACE": "1"}
        inside = [CHROOT, f"--userspec={stage.user}", str(root), "env", "-C", stage.workdir, *command]
        server = subprocess.Popen(inside, env=env)
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while build.run(root, stage, stage.command["HEALTHCHECK"], stage.user, check=False):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the image's command does not serve")
                time.sleep(2)
            print("health check: passed", flush=True)
            build.run(root, stage, ["python", "-c", ASK], stage.user)
        finally:
            server.terminate()
            print("exit code:", server.wait(60), flush=True)


def main(target: str) -> None:
    if "--inside" not in sys.argv:  # mounts and network of our own, gone with the process
        os.execvp("unshare", ["unshare", "--mount", sys.executable, __file__, target, "--inside"])
    with tempfile.TemporaryDirectory(prefix="kodify-image-") as folder:
        Path(folder).chmod(0o755)
        build = Build(Path(folder))
        stage = build.stage(target)
        _own_network()
        start(build, stage)


def _own_network() -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "no network namespace")


if __name__ == "__main__":
    main(sys.argv[1])
