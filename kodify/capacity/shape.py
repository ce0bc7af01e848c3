"""A model's shape, read from its config.json: how many parameters it has, and what its layers keep of a token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kodify.errors import ConfigError

DTYPE_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}
# An MLP with two matrices instead of three.
UNGATED = {"gpt2", "gpt_bigcode", "starcoder2", "phi", "falcon", "gpt_neox", "opt"}
QKV_BIAS = {"qwen2", "qwen2_moe", "starcoder2"}
# What GPT-2 and its kin call the same.
OLDER_NAMES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_positions": "max_position_embeddings",
}
MOST_LAYERS = 10_000
LEARNED_POSITIONS = {"gpt2", "gpt_bigcode"}
COUNTED_LAYERS = {"full_attention", "sliding_attention"}
# Layers that keep a state of a fixed size, beside those that attend.
STATES = ("full_attention_interval", "linear_num_key_heads", "mamba_d_state", "ssm_state_size", "layers_block_type")
HEAD_NORMS = {"qwen3", "qwen3_moe", "gemma3", "gemma3_text"}
FOUR_NORMS = {"gemma2", "gemma3", "gemma3_text"}  # a layer; others have two


@dataclass(frozen=True, slots=True)
class Kept:
    """Layers that keep the same of a token."""

    layers: int
    values: int  # of one token in one layer
    heads: int  # that tensor parallelism can share out; 0 where every GPU keeps all of it
    window: int | None = None  # tokens, where older ones are forgotten


@dataclass(frozen=True, slots=True)
class Shape:
    kind: str  # config.json's model_type
    parameters: int
    linear: int  # of them those that quantisation packs
    hidden: int
    widest: int  # a token's largest vector inside a layer
    vocabulary: int
    longest: int  # context in tokens
    dtype: str  # of the files
    bits: float | None  # of a quantised parameter, with its scales
    kept: tuple[Kept, ...]
    file_bytes: int | None = None  # of the weights, where the files are there

    def weight_bytes(self, dtype: str = "auto") -> int:
        """In memory. Files are measured; without them it is counted. `auto` loads float32 as 16 bits."""
        stored = DTYPE_BYTES[self.dtype]
        wanted = DTYPE_BYTES.get(dtype, min(stored, 2))
        if self.bits is not None:
            packed = int(self.linear * self.bits / 8) + (self.parameters - self.linear) * 2
            return self.file_bytes or packed
        return self.file_bytes * wanted // stored if self.file_bytes else self.parameters * wanted


def read_shape(folder: Path) -> Shape:
    """Raises ConfigError where the config is not one of a language model that this can count."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shape = shape_of(config)
    except OSError as error:
        raise ConfigError(
            f"{folder / 'config.json'} can't be read ({error.strerror}): give the model's folder."
        ) from None
    except KeyError as error:
        raise _unclear(folder, f"it has no {error.args[0]}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise _unclear(folder, str(error)) from None
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return replace(shape, file_bytes=weights or None)


def _unclear(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{folder / 'config.json'} does not tell what the model needs ({reason}): give a language model's, or go by "
        "what the log of a start says."
    )


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Of a config.json's content; of a model that also sees, its language part. Raises KeyError, ValueError or
    TypeError."""
    outer, config = config, _renamed(config.get("text_config") or config)
    kind = str(config["model_type"])
    hidden, layers, vocabulary = (int(config[key]) for key in ("hidden_size", "num_hidden_layers", "vocab_size"))
    if min(hidden, layers, vocabulary, int(config["num_attention_heads"])) < 1:
        raise ValueError("a size in it is not above 0")
    if layers > MOST_LAYERS:
        raise ValueError(f"it has {layers:,} layers")
    if set(config.get("layer_types") or ()) - COUNTED_LAYERS or any(config.get(key) for key in STATES):
        raise ValueError("its layers are not all of attention, and others are not counted here")
    attention, kept = _attention(config, kind, hidden, layers)
    mlps = sum(_mlp(config, kind, hidden, layer) for layer in range(layers))
    norms = layers * hidden * (4 if kind in FOUR_NORMS else 2) + hidden
    linear = layers * attention + mlps
    longest = int(config.get("max_position_embeddings") or 4096)
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings", _tied_unless_said(kind)) else 2)
    embeddings += longest * hidden if kind in LEARNED_POSITIONS else 0
    dtype = str(config.get("dtype") or config.get("torch_dtype") or outer.get("torch_dtype") or "bfloat16")
    return Shape(
        kind=kind,
        parameters=linear + norms + embeddings,
        linear=linear,
        hidden=hidden,
        widest=max(hidden, int(config.get("intermediate_size") or 4 * hidden)),
        vocabulary=vocabulary,
        longest=longest,
        dtype=dtype if dtype in DTYPE_BYTES else "bfloat16",
        bits=_bits(outer.get("quantization_config") or config.get("quantization_config")),
        kept=kept,
    )


def _renamed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    if "n_embd" not in config:
        return config
    heads = {"num_key_value_heads": 1} if config.get("multi_query") else {}
    return {OLDER_NAMES.get(key, key): value for key, value in config.items()} | {"use_bias": True, **heads}


def _attention(config: Mapping[str, Any], kind: str, hidden: int, layers: int) -> tuple[int, tuple[Kept, ...]]:
    """A layer's parameters, and what the layers keep."""
    heads = int(config["num_attention_heads"])
    if "kv_lora_rank" in config:  # multi-head latent attention: one small vector for all heads
        rank, rope = int(config["kv_lora_rank"]), int(config["qk_rope_head_dim"])
        plain, value = int(config["qk_nope_head_dim"]), int(config["v_head_dim"])
        query_rank = config.get("q_lora_rank")
        wide = heads * (plain + rope)
        query = hidden * wide if query_rank is None else query_rank * (hidden + 1 + wide)
        keys = hidden * (rank + rope) + rank + rank * heads * (plain + value)
        return query + keys + heads * value * hidden, (Kept(layers, rank + rope, 0),)
    shared = int(config.get("num_key_value_heads") or heads)
    size = int(config.get("head_dim") or hidden // heads)
    parameters = hidden * size * (2 * heads + 2 * shared)
    if kind in QKV_BIAS | LEARNED_POSITIONS or config.get("attention_bias"):
        parameters += size * (heads + 2 * shared)
    if config.get("use_bias"):
        parameters += hidden * 3  # of the output, and of the two norms
    if kind in HEAD_NORMS:
        parameters += 2 * size
    values = 2 * shared * size
    window, sliding = _sliding(config, kind, layers)
    kept = (Kept(layers - sliding, values, shared), Kept(sliding, values, shared, window))
    return parameters, tuple(part for part in kept if part.layers)


def _sliding(config: Mapping[str, Any], kind: str, layers: int) -> tuple[int | None, int]:
    """The window, and how many layers have it."""
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return None, 0
    if kinds := config.get("layer_types"):
        return int(window), sum(one == "sliding_attention" for one in kinds)
    every = config.get("sliding_window_pattern") or {"gemma2": 2, "gemma3_text": 6, "gemma3": 6}.get(kind)
    return int(window), layers - layers // int(every) if every else layers


def _mlp(config: Mapping[str, Any], kind: str, hidden: int, layer: int) -> int:
    matrices = 2 if kind in UNGATED else 3
    wide = int(config.get("intermediate_size") or 4 * hidden)
    experts = config.get("num_local_experts") or config.get("num_experts") or config.get("n_routed_experts")
    if not experts or layer < int(config.get("first_k_dense_replace") or 0):
        bias = wide + hidden if config.get("use_bias") else 0
        return matrices * hidden * wide + bias
    each = matrices * hidden * int(config.get("moe_intermediate_size") or wide)
    parameters = int(experts) * (each + hidden) + int(config.get("n_shared_experts") or 0) * each
    if beside := config.get("shared_expert_intermediate_size"):
        parameters += matrices * hidden * int(beside) + hidden
    return parameters


def _tied_unless_said(kind: str) -> bool:
    return kind.startswith(("gemma", "starcoder2", "gpt2", "gpt_bigcode"))


def _bits(given: Mapping[str, Any] | None) -> float | None:
    """Of a packed parameter, with a scale of 16 bits for each group and, of GPTQ and AWQ, a zero point."""
    if not given:
        return None
    method = str(given.get("quant_method", ""))
    if method in ("fp8", "modelopt", "fbgemm_fp8"):
        return 8.0
    if method == "compressed-tensors":
        groups = list((given.get("config_groups") or {}).values())
        weights: Mapping[str, Any] = (groups[0].get("weights") if groups else None) or {}
        return _packed(float(weights.get("num_bits") or 8), weights.get("group_size"), zero_points=False)
    if method == "bitsandbytes":
        return 4.5 if given.get("load_in_4bit") else 8.0
    bits = float(given.get("bits") or given.get("w_bit") or 4)
    return _packed(bits, given.get("group_size") or given.get("q_group_size"), zero_points=True)


def _packed(bits: float, group: int | None, *, zero_points: bool) -> float:
    return bits + (16 + (bits if zero_points else 0)) / group if group and group > 0 else bits
