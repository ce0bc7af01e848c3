"""What must hold before the engine is loaded: the same questions for `kodify serve` and `kodify check`."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from kodify import tls
from kodify.config_file import ModelEntry
from kodify.errors import ConfigError
from kodify.settings import Settings, is_local_path
from kodify.shipped import find_file

TABLE = re.compile(r"^([a-z_][a-z0-9_]{0,40}\.)?[a-z_][a-z0-9_]{0,40}$")
ORIGIN = re.compile(r"^(\*|https?://[^/\s?#]+/?)$")
CLAIM = re.compile(r"^[^=]+=.+$")
HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


def refuse_to_start(settings: Settings) -> None:
    """Raises ConfigError with the first reason not to start."""
    for problem in problems(settings):
        raise ConfigError(problem)


def problems(settings: Settings) -> Iterator[str]:
    """One sentence each, saying what to do."""
    yield from standing(settings)
    yield from encryption(settings)
    yield from _port(settings)


def standing(settings: Settings) -> Iterator[str]:
    """Those of the settings alone. What runs with them holds its port, and `kodify doctor` looks closer at TLS."""
    try:
        each = settings.models
    except ConfigError as error:
        yield error.message
        return
    for entry, own in each:
        yield from _model(own)
        yield from _preset(own)
        yield from _adapters(entry)
    yield from _names([*own.served_names, *(entry.adapters if entry is not None else ())] for entry, own in each)
    yield from _censor(settings)
    yield from _actions(settings)
    yield from authorisation(settings)
    yield from journal(settings)
    yield from chats(settings)
    yield from browsers(settings)


def notices(settings: Settings) -> Iterator[str]:
    """What is accepted and has no effect."""
    if settings.vllm_use_v1 is not None:
        yield "VLLM_USE_V1 is no longer needed: the engine has only this version."


def _model(settings: Settings) -> Iterator[str]:
    path = settings.model_path
    if is_local_path(path):
        if not Path(path).is_dir():
            yield f"MODEL names {path}, which is not a folder here: give the folder that holds the model's config.json."
        elif not (Path(path) / "config.json").is_file():
            yield f"MODEL names {path}, which has no config.json: give the folder that holds the model's files."
    elif not HUB_ID.match(path):
        yield f"MODEL names {path}, which is neither a folder here nor a hub id: give a path or `organisation/name`."


def _adapters(entry: ModelEntry | None) -> Iterator[str]:
    for name, path in (entry.adapters if entry is not None else {}).items():
        if entry is not None and entry.task == "embed":
            yield f"config.yml has adapters of {entry.names[0]}, which embeds: only models that generate take them."
            return
        if not (Path(path).expanduser() / "adapter_config.json").is_file():
            yield f"config.yml's adapter {name} names {path}, which is no folder here with an adapter_config.json."


def _censor(settings: Settings) -> Iterator[str]:
    from kodify.censor.patterns import read_patterns

    if settings.file.censor is not None:
        try:
            read_patterns(settings.file.censor.patterns)
        except ConfigError as error:
            yield error.message


def _actions(settings: Settings) -> Iterator[str]:
    from kodify import actions

    if (problem := actions.problem(settings.actions_path)) is not None:
        yield problem


def _names(each: Iterable[list[str]]) -> Iterator[str]:
    names = [name for own in each for name in own]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"config.yml has the model name {name} twice: requests tell models by their names."


def _preset(settings: Settings) -> Iterator[str]:
    path = settings.preset_path
    if path is not None and not find_file(path).is_file():
        yield f"COMPLETIONS_PREPROCESSING_CONFIG names {path}, which is not a file: give a preset or leave it unset."


def authorisation(settings: Settings) -> Iterator[str]:
    users = settings.mtsai_auth or settings.auth_type == "DB"
    if settings.mtsai_auth and settings.auth_type != "DB":
        yield "MTSAI_AUTH=true needs AUTH_TYPE=DB: set it, or MTSAI_AUTH=false."
    elif users and not settings.mtsai_auth:
        yield "AUTH_TYPE=DB needs MTSAI_AUTH=true: set it, or AUTH_TYPE=NO."
    elif users and settings.db_url is None:
        yield "MTSAI_AUTH=true needs DB_URL: set it to the users' PostgreSQL."
    elif users and settings.vllm_api_key is not None:
        yield "VLLM_API_KEY and MTSAI_AUTH=true exclude each other: unset one of them."
    elif users and settings.oidc_discovery_url is not None and settings.oidc_audience is None:
        yield "OIDC_DISCOVERY_URL needs OIDC_AUDIENCE: set it to the audience of the tokens."
    elif users and settings.oidc_admin_claim is not None and not CLAIM.match(settings.oidc_admin_claim):
        yield "OIDC_ADMIN_CLAIM must be `name=value`: set it so, or unset it."
    elif settings.oidc_client_id is not None and settings.oidc_discovery_url is None:
        yield "OIDC_CLIENT_ID needs OIDC_DISCOVERY_URL: set it to the provider's …/.well-known/openid-configuration."
    elif not users and settings.oidc_discovery_url is not None:
        yield "OIDC_DISCOVERY_URL needs users: set MTSAI_AUTH=true, AUTH_TYPE=DB and DB_URL."
    elif not users and (limit := _a_limit(settings)) is not None:
        yield f"{limit} needs users: set MTSAI_AUTH=true, AUTH_TYPE=DB and DB_URL, or unset it."
    elif users and not TABLE.match(settings.users_table):
        yield f"USERS_TABLE is {settings.users_table}, which is no table's name: give `table` or `schema.table`."


def _a_limit(settings: Settings) -> str | None:
    names = ("limit_requests_per_minute", "limit_concurrent_requests", "limit_tokens_per_day")
    return next((name.upper() for name in names if getattr(settings, name) is not None), None)


def journal(settings: Settings) -> Iterator[str]:
    if not settings.logs:
        return
    needed = ("logs_db_host", "logs_db_port", "logs_db_name", "logs_db_username", "logs_db_password")
    missing = [name.upper() for name in needed if getattr(settings, name) is None]
    if missing and settings.logs_db_host != "embedded":
        yield f"LOGS=True needs {', '.join(missing)}: set them to the journal's PostgreSQL, or unset LOGS."
    rows, contents = settings.logs_retention_days, settings.logs_content_days
    if rows is not None and contents is not None and contents > rows:
        yield f"LOGS_CONTENT_DAYS={contents} is longer than LOGS_RETENTION_DAYS={rows}: texts go with their rows."


def chats(settings: Settings) -> Iterator[str]:
    if settings.chats_table is not None and not TABLE.match(settings.chats_table):
        yield f"CHATS_TABLE is {settings.chats_table}, which is no table's name: give `table` or `schema.table`."


def browsers(settings: Settings) -> Iterator[str]:
    for origin in (settings.cors_origins or "").split(","):
        if origin.strip() and not ORIGIN.match(origin.strip()):
            yield f"CORS_ORIGINS names {origin.strip()}, which is no origin: give `https://host`, several with commas."


def encryption(settings: Settings) -> Iterator[str]:
    if settings.tls_cert is not None and settings.tls_key is None:
        yield "TLS_CERT needs TLS_KEY: set it to the certificate's private key."
    elif settings.tls_key is not None and settings.tls_cert is None:
        yield "TLS_KEY needs TLS_CERT: set it to the key's certificate."
    elif settings.tls_cert is None and settings.tls_client_ca is not None:
        yield "TLS_CLIENT_CA needs TLS_CERT and TLS_KEY: set them, or unset it."
    elif settings.tls_cert is None and settings.tls_key_password is not None:
        yield "TLS_KEY_PASSWORD needs TLS_CERT and TLS_KEY: set them, or unset it."
    else:
        try:
            tls.build(settings)
        except ConfigError as error:
            yield error.message


def _port(settings: Settings) -> Iterator[str]:
    address = f"{settings.host}:{settings.port}"
    try:
        family, kind, _, _, where = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except (socket.gaierror, UnicodeError):
        yield f"HOST names {settings.host}, which is no address of this machine: set HOST to one, or to 0.0.0.0."
    except PermissionError:
        yield f"PORT {settings.port} needs rights that this process has not: set a PORT above 1023."
    except OSError:
        yield f"{address} is in use or not an address of this machine: set PORT or HOST to a free one."
