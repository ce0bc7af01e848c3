"""Settings into vLLM's engine arguments, and the few serving flags that belong to its renderer and parsers."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from kodify.errors import ConfigError
from kodify.settings import Settings, is_local_path

MORE_STOPS = ("VLLM_MAX_STOP_STRINGS", "64")
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM makes room for
MOST_ADAPTERS_AT_ONCE = 8  # where the arguments don't say: each takes memory of the GPU


@dataclass(frozen=True)
class ServingFlags:
    """What vLLM keeps outside its engine arguments: chat template, tool and reasoning parsing, usage details."""

    chat_template: str | None
    chat_template_content_format: str
    trust_request_chat_template: bool
    default_chat_template_kwargs: dict[str, Any] | None
    enable_auto_tool_choice: bool
    exclude_tools_when_tool_choice_none: bool
    tool_call_parser: str | None
    tool_parser_plugin: str
    tool_strict_level: str
    reasoning_parser: str | None
    enable_prompt_tokens_details: bool


def prepare_environment(settings: Settings) -> None:
    """vLLM reads these when it is imported; its own command line sets the first, an embedder must."""
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", settings.vllm_worker_multiproc_method)
    for name in ("pytorch_cuda_alloc_conf", "nvidia_visible_devices"):  # they may stand in .env only
        value = getattr(settings, name)
        if value is not None:
            os.environ.setdefault(name.upper(), value)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "DEBUG" if settings.log_level == "debug" else "ERROR")
    if settings.log_level != "debug":  # quiet the engine's own process too
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        os.environ.setdefault("TORCH_LOGS", "-all")
        os.environ.setdefault(
            "PYTHONWARNINGS", "ignore::FutureWarning,ignore::UserWarning:multiprocessing.resource_tracker"
        )
    # Kodify is for closed networks: nothing of a run is reported to vLLM's makers.
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # Four stop strings a request are too few for editors' completions.
    os.environ.setdefault(*MORE_STOPS)
    # Lets a CPU engine run its model in the EngineCore process: one process less, half the start.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    # On a CPU oneDNN keeps what it has compiled for a shape, of the last 1024: each length of a prompt brings new ones,
    # of half a megabyte each.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    if is_local_path(settings.model_path):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def split_arguments(text: str) -> list[str]:
    """ADDITIONAL_ARGS into words. The guides write `--name = value`: blanks around `=` are dropped."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"ADDITIONAL_ARGS can't be split into words: {error}.") from None
    joined: list[str] = []
    glue = False
    for word in words:
        if joined and joined[-1].startswith("--") and (glue or word.startswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
        # `--name=` and a lone `=` wait for their value; a value that merely ends with `=` does not.
        glue = joined[-1].startswith("--") and joined[-1].endswith("=") and joined[-1].count("=") == 1
    return joined


def engine_arguments(settings: Settings, adapters: Mapping[str, str] | None = None) -> tuple[Any, ServingFlags]:
    """(vLLM's AsyncEngineArgs, the serving flags). `adapters`: LoRA adapters to be loaded, by name.

    Raises ConfigError for what vLLM does not know.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs  # heavy: seconds
    from vllm.platforms import current_platform

    parser = _build_parser(AsyncEngineArgs)
    words = split_arguments(settings.engine_arguments)
    try:
        namespace = parser.parse_args(words)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"ADDITIONAL_ARGS: {error}.") from None
    given = {word.split("=")[0].lstrip("-").replace("-", "_") for word in words if word.startswith("--")}
    for name, own in (("model", "MODEL"), ("served_model_name", "SERVED_MODEL_NAME")):
        if name in given:
            raise ConfigError(f"ADDITIONAL_ARGS has --{name.replace('_', '-')}: set {own} instead.")
    values: dict[str, Any] = {"model": settings.model_path, "served_model_name": settings.served_names}
    if "dtype" not in given:
        values["dtype"] = settings.dtype
    if "gpu_memory_utilization" not in given:
        values["gpu_memory_utilization"] = settings.gpuutil
    if "scheduling_policy" not in given:
        values["scheduling_policy"] = "priority"  # completions go before chats
    if settings.log_level != "debug":
        values["use_tqdm_on_load"] = False
    # Compiling takes longer than everything else about the built-in model, and needs a compiler on the host.
    if settings.eager or settings.is_nano:
        values["enforce_eager"] = True
    if current_platform.is_cpu() and "kv_cache_memory_bytes" not in given:
        values |= _cpu_memory(settings)
    if adapters:
        values |= {name: value for name, value in _room_for(adapters).items() if name not in given}
    has_lora = values.get("enable_lora") or namespace.enable_lora
    if current_platform.is_cpu() and has_lora and "worker_extension_cls" not in given:
        values["worker_extension_cls"] = "kodify.engine.vllm_cpu_lora.WorkerExtension"
    one_device = namespace.tensor_parallel_size * namespace.pipeline_parallel_size * namespace.data_parallel_size == 1
    if current_platform.is_cpu() and one_device and namespace.distributed_executor_backend is None:
        values["distributed_executor_backend"] = "uni"
    for name, value in values.items():
        setattr(namespace, name, value)
    try:
        return AsyncEngineArgs.from_cli_args(namespace), _serving_flags(namespace)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"ADDITIONAL_ARGS: {error}.") from None


def _cpu_memory(settings: Settings) -> dict[str, Any]:
    """vLLM's own default takes nine tenths of the host's memory and refuses to start where less is free."""
    gib = settings.vllm_cpu_kvcache_space
    if gib is None and "gpuutil" in settings.model_fields_set:
        return {}
    return {"kv_cache_memory_bytes": (gib or (1 if settings.is_nano else 4)) << 30}


def _room_for(adapters: Mapping[str, str]) -> dict[str, Any]:
    """So that requests to all of them run together, and the largest fits."""
    rank = max(_rank(Path(path).expanduser() / "adapter_config.json") for path in adapters.values())
    room = {"enable_lora": True, "max_loras": min(len(adapters), MOST_ADAPTERS_AT_ONCE)}
    return room | {"max_lora_rank": next((known for known in LORA_RANKS if known >= rank), LORA_RANKS[-1])}


def _rank(config: Path) -> int:
    """Raises ConfigError for what is no adapter's configuration."""
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
        return max(int(found["r"]), *map(int, (found.get("rank_pattern") or {}).values()), 1)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(
            f"config.yml names an adapter whose {config} can't be read: give the folder of one."
        ) from None


class _Parser(argparse.ArgumentParser):
    """Mixed into vLLM's parser: complaints become ConfigErrors instead of an exit."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"ADDITIONAL_ARGS: {message}.")

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        namespace, unknown = super().parse_known_args(*args, **kwargs)
        _refuse_unknown(unknown, self)
        return namespace, unknown


def _build_parser(arguments_class: Any) -> Any:
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(_Parser, FlexibleArgumentParser):  # type: ignore[misc]
        pass

    parser = arguments_class.add_cli_args(Parser(add_help=False, allow_abbrev=False))
    serving = parser.add_argument_group("serving")
    serving.add_argument("--chat-template")
    serving.add_argument("--chat-template-content-format", choices=("auto", "string", "openai"), default="auto")
    serving.add_argument("--trust-request-chat-template", action="store_true")
    serving.add_argument("--default-chat-template-kwargs", type=_json_object)
    serving.add_argument("--enable-auto-tool-choice", action="store_true")
    serving.add_argument("--exclude-tools-when-tool-choice-none", action="store_true")
    serving.add_argument("--tool-call-parser")
    serving.add_argument("--tool-parser-plugin", default="")
    serving.add_argument("--tool-strict-level", choices=("auto", "function", "parameter"), default="auto")
    serving.add_argument("--enable-prompt-tokens-details", action="store_true")
    return parser


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value


def _refuse_unknown(unknown: list[str], parser: argparse.ArgumentParser) -> None:
    if not unknown:
        return
    name = unknown[0].split("=")[0]
    known = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    nearest = difflib.get_close_matches(name.replace("_", "-"), known, n=1, cutoff=0.5)
    hint = f": did you mean {nearest[0]}?" if nearest else "."
    raise ConfigError(f"ADDITIONAL_ARGS has {name}, which vLLM does not know{hint}")


def _serving_flags(namespace: Any) -> ServingFlags:
    if namespace.enable_auto_tool_choice and not namespace.tool_call_parser:
        raise ConfigError("ADDITIONAL_ARGS: --enable-auto-tool-choice needs --tool-call-parser: name the model's.")
    return ServingFlags(**{name: getattr(namespace, name) for name in ServingFlags.__dataclass_fields__})
