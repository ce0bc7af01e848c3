"""Every knob, read once: the environment, `.env`, `config.yml`. Nothing else in Kodify reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kodify.config_file import ConfigFile, ModelEntry, hide_secrets, read_config_file
from kodify.errors import ConfigError

NANO_PATH = Path(__file__).parent / "nano"
NANO_NAME = "kodify-nano"
DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")


class Settings(BaseSettings):
    """One field per variable; the field's alias is the variable's name, its description the README's line."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, env_file=".env", populate_by_name=True
    )

    # the model and its engine
    model: str | None = Field(None, alias="MODEL", description="Folder of the model, or its hub id.")
    served_model_name: str | None = Field(
        None, alias="SERVED_MODEL_NAME", description="Name(s) that clients use for the model, separated by commas."
    )
    gpuutil: float = Field(0.9, alias="GPUUTIL", description="Share of the GPU's memory that Kodify takes, 0 to 1.")
    dtype: str = Field("auto", alias="DTYPE", description="Type of the weights: " + ", ".join(DTYPES) + ".")
    vllm_cpu_kvcache_space: int | None = Field(
        None,
        alias="VLLM_CPU_KVCACHE_SPACE",
        ge=1,
        description="On a CPU: GiB of memory for the KV cache. Unset, and GPUUTIL too: 4, the built-in model 1.",
    )
    eager: bool = Field(False, alias="EAGER", description="1: no CUDA graphs and no compilation.")
    additional_args: str = Field(
        "", alias="ADDITIONAL_ARGS", description="Any vLLM engine arguments, as on vLLM's command line."
    )
    engine_path: Literal["direct", "generate"] = Field(
        "direct",
        alias="ENGINE_PATH",
        description="direct: the engine's output goes straight to the wire. generate: by vLLM's public `generate()`.",
    )
    engine_reader: Literal["kodify", "vllm"] = Field(
        "kodify",
        alias="ENGINE_READER",
        description="Who reads the engine's output from its socket, where ENGINE_PATH is direct.",
    )
    completions_preprocessing_config: str | None = Field(
        None,
        alias="COMPLETIONS_PREPROCESSING_CONFIG",
        description="Fill-in-the-middle preset (JSON). Unset: found from the model's tokenizer.",
    )
    completion_deadline_s: float = Field(
        5.0,
        alias="COMPLETION_DEADLINE_S",
        gt=0,
        description="Seconds after which an editor's completion is what there is of it by then.",
    )
    completion_supersede: bool = Field(
        True,
        alias="COMPLETION_SUPERSEDE",
        description="A newer completion of the same person and document ends the older one.",
    )
    completion_cache: int = Field(
        2000,
        alias="COMPLETION_CACHE",
        ge=0,
        description="Documents whose latest completions are kept for two minutes, to be given again; 0 for none.",
    )
    actions_path: str | None = Field(
        None,
        alias="ACTIONS_PATH",
        description="Folder of the code actions' files; their changes count at once. Unset: the shipped ones.",
    )
    max_n: int = Field(10, alias="MAX_N", ge=1, description="Largest `n` and `best_of` of a request.")

    # the server
    host: str = Field("127.0.0.1", alias="HOST", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8000, alias="PORT", ge=1, le=65535, description="Port to listen on.")
    config: str | None = Field(
        None, alias="CONFIG", description="Path of a config.yml. Unset: ./config.yml where there is one."
    )
    max_body_bytes: int = Field(
        16 * 1024 * 1024, alias="MAX_BODY_BYTES", ge=1024, description="Largest request body; beyond it 413."
    )
    header_timeout_s: float = Field(
        10.0, alias="HEADER_TIMEOUT_S", gt=0, description="Seconds in which a request's headers must have come."
    )
    body_timeout_s: float = Field(
        60.0, alias="BODY_TIMEOUT_S", gt=0, description="Seconds after the headers in which the body must; else 408."
    )
    keepalive_s: int = Field(
        75, alias="KEEPALIVE_S", ge=1, description="Seconds that an idle connection stays open for another request."
    )
    max_unread_bytes: int = Field(
        1024 * 1024,
        alias="MAX_UNREAD_BYTES",
        ge=1024,
        description="How much of a stream may wait for its client; beyond it the client is cut off.",
    )
    unread_timeout_s: float = Field(
        60.0, alias="UNREAD_TIMEOUT_S", gt=0, description="Seconds after which a client that reads nothing is cut off."
    )
    max_connections: int = Field(
        10_000,
        alias="MAX_CONNECTIONS",
        ge=1,
        description="Open connections, as far as the process's limit of open files goes; beyond it 503.",
    )
    max_connections_per_address: int | None = Field(
        None,
        alias="MAX_CONNECTIONS_PER_ADDRESS",
        ge=1,
        description="Open connections of one address; behind a proxy all have its address. Unset: any.",
    )
    public_url: str | None = Field(
        None,
        alias="PUBLIC_URL",
        description="Address at which browsers reach Kodify, such as https://kodify.example.com. Unset: as they say.",
    )
    cors_origins: str | None = Field(
        None,
        alias="CORS_ORIGINS",
        description="Origins whose web pages may use the API from a browser, separated by commas. Unset: none.",
    )
    tls_cert: str | None = Field(
        None,
        alias="TLS_CERT",
        description="Certificate (PEM, with its chain): Kodify speaks TLS itself. Needs TLS_KEY.",
    )
    tls_key: str | None = Field(None, alias="TLS_KEY", description="Private key of TLS_CERT (PEM).")
    tls_key_password: SecretStr | None = Field(
        None, alias="TLS_KEY_PASSWORD", description="Password of TLS_KEY, where it is encrypted."
    )
    tls_client_ca: str | None = Field(
        None,
        alias="TLS_CLIENT_CA",
        description="Certificates (PEM) of who signs clients': only such clients may connect.",
    )
    drain_timeout: int = Field(
        30, alias="DRAIN_TIMEOUT", ge=0, description="Seconds that running requests may go on after the signal to stop."
    )
    max_waiting_requests: int | None = Field(
        None,
        alias="MAX_WAITING_REQUESTS",
        ge=0,
        description="Requests that may wait for one model, then 503. Unset: four times what runs at once, at least 64.",
    )
    max_waiting_tokens: int | None = Field(
        None,
        alias="MAX_WAITING_TOKENS",
        ge=0,
        description="Tokens of prompts that may wait for one model. Unset: four times its KV cache.",
    )
    engine_on_failure: Literal["exit", "restart"] = Field(
        "exit",
        alias="ENGINE_ON_FAILURE",
        description="exit: a dead engine ends Kodify, for its supervisor to start it again. restart: only the engine.",
    )
    engine_stall_s: float = Field(
        120.0,
        alias="ENGINE_STALL_S",
        gt=0,
        description="Seconds without progress after which an engine that has work counts as dead.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="LOG_LEVEL", description="debug, info, warning or error; debug shows vLLM's own log too."
    )
    log_format: Literal["text", "json"] = Field(
        "text", alias="LOG_FORMAT", description="text, or json: one object a line."
    )
    access_log: bool = Field(False, alias="ACCESS_LOG", description="true: a line in the log for each request.")
    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Collector of traces (OTLP over HTTP), such as http://collector:4318. Unset: no traces.",
    )
    otel_service_name: str = Field("kodify", alias="OTEL_SERVICE_NAME", description="The service's name in traces.")
    otel_traces_sampler_arg: float = Field(
        1.0,
        alias="OTEL_TRACES_SAMPLER_ARG",
        ge=0,
        le=1,
        description="Share of the requests that are traced, 0 to 1, where the caller's `traceparent` does not say.",
    )
    page: bool = Field(True, alias="PAGE", description="false: no chat page at `/`, and no `/admin`.")
    docs: bool = Field(True, alias="DOCS", description="false: no `/docs` and no `/openapi.json`.")
    wait_vllm: bool = Field(
        False, alias="WAIT_VLLM", description="Open the port only when the engine is ready. Unset: at once, with 503."
    )
    wait_vllm_attempts: int = Field(
        5, alias="WAIT_VLLM_ATTEMPTS", ge=1, description="With WAIT_VLLM: how many timeouts to wait for the engine."
    )
    wait_vllm_timeout_s: float = Field(
        10.0, alias="WAIT_VLLM_TIMEOUT", gt=0, description="With WAIT_VLLM: one timeout, in seconds."
    )

    # authorisation
    mtsai_auth: bool = Field(False, alias="MTSAI_AUTH", description="true: users with a token each (AUTH_TYPE=DB).")
    auth_type: Literal["NO", "DB"] = Field("NO", alias="AUTH_TYPE", description="NO, or DB for users in a database.")
    vllm_api_key: SecretStr | None = Field(
        None, alias="VLLM_API_KEY", description="The one token that every client sends. Unset: no authorisation."
    )
    users_table: str = Field("users", alias="USERS_TABLE", description="Table of the users, may name its schema.")
    db_url: SecretStr | None = Field(None, alias="DB_URL", description="PostgreSQL of the users, or `embedded`.")
    data_path: str = Field(
        "kodify-data", alias="DATA_PATH", description="Folder of what Kodify keeps itself, such as DB_URL=embedded."
    )
    token_days: int = Field(
        30, alias="TOKEN_DAYS", ge=1, le=3650, description="How many days a token made by `POST /token` works."
    )
    auth_outage_s: float = Field(
        600,
        alias="AUTH_OUTAGE_S",
        ge=0,
        description="How many seconds known tokens go on while the users' PostgreSQL can't be reached.",
    )
    limit_requests_per_minute: int | None = Field(
        None,
        alias="LIMIT_REQUESTS_PER_MINUTE",
        ge=1,
        description="Requests a minute that one user may make. Unset: any.",
    )
    limit_concurrent_requests: int | None = Field(
        None,
        alias="LIMIT_CONCURRENT_REQUESTS",
        ge=1,
        description="Requests that one user may make at once, of each replica. Unset: any.",
    )
    limit_tokens_per_day: int | None = Field(
        None, alias="LIMIT_TOKENS_PER_DAY", ge=1, description="Tokens, read and written, of one user a day. Unset: any."
    )
    oidc_discovery_url: str | None = Field(
        None,
        alias="OIDC_DISCOVERY_URL",
        description="Single sign-on beside users' tokens: the provider's …/.well-known/openid-configuration.",
    )
    oidc_audience: str | None = Field(
        None, alias="OIDC_AUDIENCE", description="The audience that a sign-on token must be made for."
    )
    oidc_client_id: str | None = Field(
        None,
        alias="OIDC_CLIENT_ID",
        description="Kodify's pages at the provider, for a sign-on button; it comes back to /session/sign-on/callback.",
    )
    oidc_client_secret: SecretStr | None = Field(
        None, alias="OIDC_CLIENT_SECRET", description="The secret of OIDC_CLIENT_ID, where the provider wants one."
    )
    oidc_email_claim: str = Field("email", alias="OIDC_EMAIL_CLAIM", description="The claim that has the e-mail.")
    oidc_admin_claim: str | None = Field(
        None, alias="OIDC_ADMIN_CLAIM", description="`name=value`: who has this claim is an administrator."
    )
    oidc_user_days: int = Field(
        365,
        alias="OIDC_USER_DAYS",
        ge=0,
        le=36_500,
        description="How many days a user who is made at the first sign-on may use Kodify.",
    )
    run_migrations: bool = Field(False, alias="RUN_MIGRATIONS", description="1: migrate the databases on start.")

    # journal
    logs: bool = Field(False, alias="LOGS", description="True: keep a journal of API requests in PostgreSQL.")
    logs_db_host: str | None = Field(
        None, alias="LOGS_DB_HOST", description="The journal's PostgreSQL: host, or `embedded`."
    )
    logs_db_port: int | None = Field(None, alias="LOGS_DB_PORT", description="The journal's PostgreSQL: port.")
    logs_db_name: str | None = Field(None, alias="LOGS_DB_NAME", description="The journal's PostgreSQL: database.")
    logs_db_username: str | None = Field(None, alias="LOGS_DB_USERNAME", description="The journal's PostgreSQL: user.")
    logs_db_password: SecretStr | None = Field(
        None, alias="LOGS_DB_PASSWORD", description="The journal's PostgreSQL: password."
    )
    logs_content: Literal["full", "metadata"] = Field(
        "full", alias="LOGS_CONTENT", description="full, or metadata: the journal without requests' and answers' texts."
    )
    logs_content_days: int | None = Field(
        None,
        alias="LOGS_CONTENT_DAYS",
        ge=1,
        description="After how many days the journal's texts are emptied, their rows kept. Unset: never.",
    )
    logs_retention_days: int | None = Field(
        None,
        alias="LOGS_RETENTION_DAYS",
        ge=1,
        description="After how many days the journal's rows are dropped, by whole months. Unset: never.",
    )
    logs_spool_bytes: int = Field(
        1024 * 1024 * 1024,
        alias="LOGS_SPOOL_BYTES",
        ge=1024 * 1024,
        description="Largest spool of the journal in DATA_PATH; beyond it entries are lost and counted.",
    )

    # retrieval
    qdrant_url: SecretStr | None = Field(
        None,
        alias="QDRANT_URL",
        description="Qdrant server of the collections. Unset: in DATA_PATH, for one process at a time.",
    )
    qdrant_api_key: SecretStr | None = Field(None, alias="QDRANT_API_KEY", description="Qdrant's API key.")
    # chats
    chats_db_url: SecretStr | None = Field(
        None,
        alias="CHATS_DB_URL",
        description="PostgreSQL of the chats, or `embedded`. Unset: DB_URL's; else `embedded`, from the first chat on.",
    )
    chats_table: str | None = Field(
        None,
        alias="CHATS_TABLE",
        description="Table of the chats, may name its schema. Unset: `chats`, by USERS_TABLE.",
    )
    chat_hours: float = Field(
        24.0, alias="CHAT_HOURS", gt=0, le=87_600, description="Hours after its last message when a chat is deleted."
    )
    chats_temporary: bool = Field(
        False,
        alias="CHATS_TEMPORARY",
        description="true: of a chat's content nothing outlives it; the journal gets none.",
    )

    # handed on, or accepted from older installations
    pytorch_cuda_alloc_conf: str | None = Field(
        None, alias="PYTORCH_CUDA_ALLOC_CONF", description="Handed to PyTorch; `expandable_segments:True` saves memory."
    )
    nvidia_visible_devices: str | None = Field(
        None, alias="NVIDIA_VISIBLE_DEVICES", description="Handed to NVIDIA's container runtime: which GPUs to use."
    )
    vllm_use_v1: str | None = Field(
        None, alias="VLLM_USE_V1", description="Accepted and no longer needed: the engine has only this version."
    )
    vllm_worker_multiproc_method: str = Field(
        "spawn", alias="VLLM_WORKER_MULTIPROC_METHOD", description="Handed to vLLM; it starts its processes this way."
    )

    _file: ConfigFile = PrivateAttr(default_factory=ConfigFile)

    @property
    def file(self) -> ConfigFile:
        """config.yml, or an empty one."""
        return self._file

    @field_validator("gpuutil")
    @classmethod
    def _share(cls, value: float) -> float:
        if not 0 < value <= 1:
            raise ValueError("must be a share above 0 and up to 1")
        return value

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, value: str) -> str:
        if value not in DTYPES:
            raise ValueError("must be one of " + ", ".join(DTYPES))
        return value

    @field_validator("otel_exporter_otlp_endpoint", "public_url")
    @classmethod
    def _http_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must be an address that begins with http:// or https://")
        return value

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Reads everything. `overrides` are field names, from the command line; None means not given.

        Raises ConfigError with one sentence that names the variable, or the file and its line.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            settings = cls(**given)
        except ValidationError as error:
            raise ConfigError(_sentence(error)) from None
        except UnicodeDecodeError:
            raise ConfigError(".env is not UTF-8: save it as such.") from None
        path = settings.config or ("config.yml" if Path("config.yml").is_file() else None)
        if path is None:
            return settings
        settings._file = read_config_file(Path(path))
        tabby = settings.file.tabby.model_name
        if tabby is not None and settings.model is None and tabby not in settings._generating_names:
            served = ", ".join(settings._generating_names)
            raise ConfigError(f"{path}: tabby.model_name is {tabby}, which generates nothing here: {served} do.")
        return settings

    @property
    def model_path(self) -> str:
        """A local folder or a hub id: MODEL, or the first of config.yml's models, or the built-in nano model."""
        if self.model is not None:
            return _without_tilde(self.model)
        return _without_tilde(self.file.models[0].path) if self.file.models else str(NANO_PATH)

    @property
    def is_nano(self) -> bool:
        return Path(self.model_path) == NANO_PATH

    @property
    def served_names(self) -> list[str]:
        """At least one; the first is the name that answers carry."""
        given = [name for part in (self.served_model_name or "").split(",") if (name := part.strip())]
        if given:
            return given
        if self.model is None and self.file.models:
            return self.file.models[0].names
        if self.is_nano:
            return [NANO_NAME]
        return [Path(self.model_path).resolve().name if is_local_path(self.model_path) else self.model_path]

    @property
    def _generating_names(self) -> list[str]:
        if len(self.file.models) < 2:
            return self.served_names + [name for entry in self.file.models for name in entry.adapters]
        return [
            name for entry in self.file.models if entry.task == "generate" for name in (*entry.names, *entry.adapters)
        ]

    @property
    def models(self) -> list[tuple[ModelEntry | None, Self]]:
        """Each model that is loaded here, with the settings of its engine: MODEL alone, or config.yml's; none where
        config.yml has upstreams alone.

        Raises ConfigError where the models' shares of the GPU are more than there is.
        """
        entries = self.file.models
        if self.model is None and not entries and self.file.upstreams:
            return []
        if self.model is not None or not entries:
            return [(None, self)]
        if len(entries) == 1 and entries[0].gpu_share is None:
            return [(entries[0], self._for_model(entries[0], None))]
        if len(entries) > 1 and self.served_model_name is not None:
            raise ConfigError("SERVED_MODEL_NAME names one model, and config.yml has several: unset it.")
        given = sum(entry.gpu_share or 0 for entry in entries)
        waiting = sum(entry.gpu_share is None for entry in entries)
        left = self.gpuutil - given
        if left < -1e-9 or (waiting and left <= 0):
            raise ConfigError(
                f"The models of config.yml want {given:g} of the GPU, and GPUUTIL is {self.gpuutil:g}: lower their "
                "gpu_share."
            )
        return [(entry, self._for_model(entry, entry.gpu_share or left / waiting)) for entry in entries]

    def _for_model(self, entry: ModelEntry, share: float | None) -> Self:
        update: dict[str, Any] = {
            "model": _without_tilde(entry.path),
            "served_model_name": self.served_model_name or ",".join(entry.names),
            "additional_args": f"{entry.args} {self.additional_args}".strip(),
            "completions_preprocessing_config": self.completions_preprocessing_config or entry.preprocessing,
        }
        own = self.model_copy(update=update if share is None else {**update, "gpuutil": share})
        if entry.gpu_share is None and "gpuutil" not in self.model_fields_set:
            own.model_fields_set.discard("gpuutil")  # on a CPU it would mean the host's memory
        return own

    @property
    def engine_arguments(self) -> str:
        """config.yml's arguments of the model, then ADDITIONAL_ARGS: the later wins."""
        own = self.file.models[0].args if self.model is None and self.file.models else ""
        return f"{own} {self.additional_args}".strip()

    @property
    def preset_path(self) -> str | None:
        own = self.file.models[0].preprocessing if self.model is None and self.file.models else None
        return self.completions_preprocessing_config or own

    @property
    def chats_table_name(self) -> str:
        schema = self.users_table.rpartition(".")[0]
        return self.chats_table or (f"{schema}.chats" if schema else "chats")

    def shown(self) -> dict[str, str]:
        """Variable to its effective value, secrets masked, for `kodify check`."""
        values = {}
        for name, field in type(self).model_fields.items():
            if field.alias is None:
                continue
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = "********" if value.get_secret_value() else ""
            values[field.alias] = "" if value is None else hide_secrets(str(value))
        several = self.file.models if self.model is None and len(self.file.models) > 1 else []
        values["MODEL"] = ", ".join(entry.path for entry in several) or self.model_path
        names = [name for entry in several for name in entry.names] or self.served_names
        values["SERVED_MODEL_NAME"] = ", ".join(names)
        return values


class ClientSettings(BaseSettings):
    """Of the commands that ask a server. From the environment only: the `.env` of a folder that somebody works in could
    send the code and the token elsewhere."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    kodify_server: str = Field(
        "http://127.0.0.1:8000", alias="KODIFY_SERVER", description="Address of the Kodify that the commands ask."
    )
    kodify_token: SecretStr | None = Field(
        None, alias="KODIFY_TOKEN", description="The developer's token, where that Kodify wants one."
    )

    @classmethod
    def load(cls) -> Self:
        try:
            return cls()
        except ValidationError as error:
            raise ConfigError(_sentence(error)) from error


def is_local_path(model: str) -> bool:
    """Whether MODEL means a folder here; else it is a hub id, `name` or `organisation/name`."""
    return model.startswith(("/", "./", "../", "~")) or model in (".", "..") or Path(model).exists()


def _without_tilde(path: str) -> str:
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _sentence(error: ValidationError) -> str:
    """The first complaint, as one sentence that names the variable."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    field = Settings.model_fields.get(name)
    name = field.alias if field is not None and field.alias else name
    message = first["msg"].removeprefix("Value error, ")
    message = message.removeprefix("Input should be ").removeprefix("must be ")
    message = f"must be {message}" if message != first["msg"] else message[:1].lower() + message[1:]
    return f"{name} {message}, got {first['input']!r}."
