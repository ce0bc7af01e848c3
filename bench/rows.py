"""Owns the rows of the comparison: which command and environment each one runs, and what may keep it from running."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.gateway import API_KEY_VARIABLE
from bench.pace import PACE_FILE_VARIABLE
from bench.plan import EngineKind

REPOSITORY = Path(__file__).resolve().parent.parent
KODIFY_COMMAND = Path(sys.executable).with_name("kodify")
MODEL_NAME = "bench"
DATA = "kodify-data"
DTYPE = "bfloat16"
LIMITS = ("--max-model-len=2048", "--max-num-seqs=256", "--max-num-batched-tokens=16384", "--block-size=32")
EXECUTORS = {EngineKind.DOUBLE: "bench.double.EngineDouble", EngineKind.NANO: "uni"}
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "SSL_CERT_FILE")


class Row(StrEnum):
    VLLM = "a"
    VLLM_TUNED = "a2"
    GATEWAY = "b"
    KODIFY = "c"
    JOURNAL = "j"
    JOURNAL_OFF = "j0"
    KODIFY_FULL = "d"
    BARE = "bare"


KODIFY_FULL_HAS_ON = "users and journal in PostgreSQL, fill-in-the-middle"
TITLES = {
    Row.VLLM: "vLLM's server",
    Row.VLLM_TUNED: "vLLM's server, fastokens",
    Row.GATEWAY: "gateway before vLLM's server",
    Row.KODIFY: "Kodify, nothing on",
    Row.JOURNAL: "Kodify, journal on",
    Row.JOURNAL_OFF: "the same process, journal switched off",
    Row.KODIFY_FULL: f"Kodify, {KODIFY_FULL_HAS_ON} on",
    Row.BARE: "bare AsyncLLM.generate()",
}


@dataclass(frozen=True)
class Setup:
    """What all rows share: the model, the engine and the token that clients send."""

    engine: EngineKind
    model: Path
    api_key: str
    pace_file: Path


@dataclass(frozen=True)
class Launch:
    command: list[str]
    environment: dict[str, str]


def find_obstacle(row: Row) -> str | None:
    """Return why a row can't run here, or None."""
    match row:
        case Row.VLLM_TUNED if importlib.util.find_spec("fastokens") is None:
            return "the package fastokens is not installed"
        case Row.KODIFY | Row.JOURNAL | Row.JOURNAL_OFF | Row.KODIFY_FULL if importlib.util.find_spec("kodify") is None:
            return "kodify can't be imported"
        case Row.KODIFY | Row.JOURNAL | Row.JOURNAL_OFF | Row.KODIFY_FULL if not KODIFY_COMMAND.exists():
            return f"there is no command {KODIFY_COMMAND}: install the project into this environment"
        case _:
            return None


def build_launch(row: Row, setup: Setup, port: int, upstream_port: int) -> Launch:
    environment = base_environment(setup)
    match row:
        case Row.VLLM:
            return Launch(_vllm_command(setup, port), environment)
        case Row.VLLM_TUNED:
            return Launch(_vllm_command(setup, port), environment | {"VLLM_USE_FASTOKENS": "1"})
        case Row.GATEWAY:
            upstream = f"http://127.0.0.1:{upstream_port}"
            command = [sys.executable, "-m", "bench.gateway", f"--port={port}", f"--upstream={upstream}"]
            return Launch(command, environment | {API_KEY_VARIABLE: setup.api_key})
        case Row.KODIFY:
            return Launch([str(KODIFY_COMMAND), "serve"], environment | kodify_environment(setup, port))
        case Row.JOURNAL:
            settings = kodify_environment(setup, port) | _journal(setup.pace_file.parent)
            return Launch([sys.executable, "-m", "bench.switchable"], environment | settings)
        case Row.KODIFY_FULL:
            settings = kodify_environment(setup, port) | _everything_on(setup)
            return Launch([str(KODIFY_COMMAND), "serve"], environment | settings)
        case Row.JOURNAL_OFF:
            raise ValueError("it has no process of its own")
        case Row.BARE:
            return Launch([sys.executable, "-m", "bench.bare", *_engine_options(setup)], environment)


def make_user(folder: Path, email: str = "bench@example.com") -> str:
    """Make a user of Kodify in a database of its own in `folder`; return the token, which all rows' clients send."""
    created = subprocess.run(
        [str(KODIFY_COMMAND), "users", "create", f"--email={email}", "--days=1"],
        env=_inherited() | _users(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return created.stdout.strip()


def find_database(folder: Path) -> int | None:
    """The process of the rows' PostgreSQL, None where no row needs one."""
    note = folder / DATA / "postgres" / "postmaster.pid"
    return int(note.read_text().split()[0]) if note.exists() else None


def _data(folder: Path) -> dict[str, str]:
    """One PostgreSQL serves the rows that need it."""
    return {"DATA_PATH": str(folder / DATA)}


def _users(folder: Path) -> dict[str, str]:
    return {"MTSAI_AUTH": "true", "AUTH_TYPE": "DB", "DB_URL": "embedded"} | _data(folder)


def _journal(folder: Path) -> dict[str, str]:
    return {"LOGS": "True", "LOGS_DB_HOST": "embedded", "RUN_MIGRATIONS": "1"} | _data(folder)


def _everything_on(setup: Setup) -> dict[str, str]:
    """`KODIFY_FULL_HAS_ON` names it. This row's bodies bring prefix and suffix apart (`prompts.leave_hole`), and go to
    the engine in the order that the others' have."""
    folder, preset = setup.pace_file.parent, REPOSITORY / "preprocess_configs" / "qwen.json"
    return _users(folder) | _journal(folder) | {"COMPLETIONS_PREPROCESSING_CONFIG": str(preset)}


def _inherited() -> dict[str, str]:
    own = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    return own | {"PYTHONPATH": str(REPOSITORY)}


def base_environment(setup: Setup) -> dict[str, str]:
    """A clean environment: no setting of the shell that started the benchmark reaches a row."""
    environment = _inherited() | {
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        PACE_FILE_VARIABLE: str(setup.pace_file),
    }
    if EXECUTORS[setup.engine] == "uni":
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # on CPU vLLM allows the executor `uni` only with it
    return environment


def _vllm_command(setup: Setup, port: int) -> list[str]:
    quiet = ["--disable-uvicorn-access-log", "--uvicorn-log-level=warning", "--no-enable-log-requests"]
    server = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host=127.0.0.1", f"--port={port}"]
    return [*server, *quiet, *_engine_options(setup)]


def _engine_options(setup: Setup) -> list[str]:
    named = [f"--model={setup.model}", f"--served-model-name={MODEL_NAME}", f"--dtype={DTYPE}", "--enforce-eager"]
    return [*named, *_shared_options(setup)]


def _shared_options(setup: Setup) -> list[str]:
    return [*LIMITS, f"--distributed-executor-backend={EXECUTORS[setup.engine]}"]


def kodify_environment(setup: Setup, port: int) -> dict[str, str]:
    return {
        "MODEL": str(setup.model),
        "SERVED_MODEL_NAME": MODEL_NAME,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DTYPE": DTYPE,
        "EAGER": "1",
        "ADDITIONAL_ARGS": " ".join(_shared_options(setup)),
    }
