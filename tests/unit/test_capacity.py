"""Capacity: parameters and KV cache of published models, and what fits on a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kodify.capacity import Card, Plan, Run, read_shape
from kodify.capacity.plan import GIB
from kodify.capacity.shape import shape_of
from kodify.cli import app
from kodify.errors import ConfigError
from kodify.settings import NANO_PATH

QWEN: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "sliding_window": 131072,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
DEEPSEEK: dict[str, Any] = {  # V2 Lite
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "vocab_size": 102400,
    "max_position_embeddings": 163840,
    "tie_word_embeddings": False,
}
GEMMA: dict[str, Any] = {  # 2, 9B
    "model_type": "gemma2",
    "hidden_size": 3584,
    "intermediate_size": 14336,
    "num_hidden_layers": 42,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "sliding_window": 4096,
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
    "torch_dtype": "float32",
}
MIXTRAL: dict[str, Any] = {
    **LLAMA,
    "model_type": "mixtral",
    "num_local_experts": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
}
QWEN_MOE: dict[str, Any] = {  # Qwen3-30B-A3B
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
}
STARCODER: dict[str, Any] = {  # 2, 7B
    "model_type": "starcoder2",
    "hidden_size": 4608,
    "intermediate_size": 18432,
    "num_hidden_layers": 32,
    "num_attention_heads": 36,
    "num_key_value_heads": 4,
    "use_bias": True,
    "sliding_window": 4096,
    "vocab_size": 49152,
    "max_position_embeddings": 16384,
}
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_positions": 1024,
    "vocab_size": 50257,
}
STARCODER_1: dict[str, Any] = {  # starcoderbase-1b
    "model_type": "gpt_bigcode",
    "n_embd": 2048,
    "n_layer": 24,
    "n_head": 16,
    "n_inner": 8192,
    "n_positions": 8192,
    "multi_query": True,
    "vocab_size": 49152,
}
AWQ = {**QWEN, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}


@pytest.mark.parametrize(
    ("config", "parameters", "bytes_a_token"),
    [
        (QWEN, 7_615_616_512, 28 * 2 * 4 * 128 * 2),
        (LLAMA, 8_030_261_248, 131_072),
        (DEEPSEEK, 15_706_484_224, 27 * 576 * 2),
        (GEMMA, 9_241_705_984, 42 * 2 * 8 * 256 * 2),
        (MIXTRAL, 46_702_792_704, 131_072),
        (QWEN_MOE, 30_532_122_624, 48 * 2 * 4 * 128 * 2),
        (STARCODER, 7_173_923_840, 32 * 2 * 4 * 128 * 2),
        (AWQ, 7_615_616_512, 57_344),
        (GPT2, 124_439_808, 12 * 2 * 768 * 2),
        (STARCODER_1, 1_137_207_296, 24 * 2 * 128 * 2),
    ],
    ids=["qwen", "llama", "mla", "gemma", "moe", "many-experts", "ungated", "awq", "older-names", "one-kv-head"],
)
def test_parameters_and_kv_cache_of_published_models(
    config: dict[str, Any], parameters: int, bytes_a_token: int
) -> None:
    shape = shape_of(config)
    assert shape.parameters == pytest.approx(parameters, rel=0.0005)
    assert Plan(shape, Card(80 * GIB), Run(4096)).token_bytes == bytes_a_token


@pytest.mark.parametrize(
    ("quantisation", "gib"),
    [
        (None, 14.2),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 5.2),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, 8.25),
        ({"quant_method": "fp8"}, 8.1),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8}}}}, 8.1),
    ],
)
def test_weights_of_quantised_files(quantisation: dict[str, Any] | None, gib: float) -> None:
    shape = shape_of({**QWEN, "quantization_config": quantisation})
    assert shape.weight_bytes() / GIB == pytest.approx(gib, abs=0.1)


def test_float32_files_are_loaded_as_16_bits_unless_dtype_says_so() -> None:
    shape = shape_of(GEMMA)
    assert shape.weight_bytes("auto") * 2 == shape.weight_bytes("float32") == shape.parameters * 4


def test_files_are_measured_where_they_are_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(AWQ))
    (tmp_path / "model-00001.safetensors").write_bytes(b"0" * 1000)
    assert read_shape(tmp_path).weight_bytes() == 1000


def test_a_window_bounds_what_a_long_context_costs() -> None:
    plan = Plan(shape_of(GEMMA), Card(80 * GIB), Run(100_000, batched_tokens=2048))
    full = 21 * 2 * 8 * 256 * 2 * 100_000
    assert plan.request_bytes == full + 21 * 2 * 8 * 256 * 2 * (4096 + 2048)


def test_parallel_gpus_share_weights_and_heads_but_not_a_latent() -> None:
    alone, four = (Plan(shape_of(LLAMA), Card(80 * GIB), Run(8192, tensor_parallel=n)) for n in (1, 4))
    assert (four.weights, four.token_bytes) == (alone.weights // 4, alone.token_bytes // 4)
    sixteen = Plan(shape_of(LLAMA), Card(80 * GIB), Run(8192, tensor_parallel=16))
    assert sixteen.token_bytes == alone.token_bytes // 8  # each head twice
    latent = Plan(shape_of(DEEPSEEK), Card(80 * GIB), Run(8192, tensor_parallel=4))
    assert latent.token_bytes == 27 * 576 * 2


def test_gpuutil_has_two_ends() -> None:
    shared = Plan(shape_of(QWEN), Card(80 * GIB, others=30 * GIB), Run(32768))
    assert shared.most_gpuutil == 0.60  # 50 of 80, less what others may grow by
    assert 0.2 < shared.least_gpuutil < shared.most_gpuutil
    assert shared.at_once(shared.least_gpuutil) >= 1 > shared.at_once(shared.least_gpuutil - 0.02)
    assert Plan(shape_of(MIXTRAL), Card(80 * GIB), Run(32768)).least_gpuutil > 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "it has no model_type"),
        ("[]", ""),
        ("{", ""),
        ('{"model_type": "whisper", "d_model": 3}', "it has no hidden_size"),
        (json.dumps({**LLAMA, "hidden_size": "big"}), "big"),
        (json.dumps({**LLAMA, "num_attention_heads": 0}), "not above 0"),
        (json.dumps({**LLAMA, "num_hidden_layers": 10**9}), "1,000,000,000 layers"),
        (json.dumps({**QWEN_MOE, "full_attention_interval": 4}), "not all of attention"),
        (json.dumps({**QWEN, "layer_types": ["linear_attention"] * 28}), "not all of attention"),
        (json.dumps({**QWEN, "quantization_config": [4]}), ""),
    ],
)
def test_a_config_that_tells_nothing_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json does not tell.*: give a language model's") as refused:
        read_shape(tmp_path)
    assert reason in refused.value.message


def test_a_head_size_that_is_null_is_what_the_heads_leave() -> None:
    assert shape_of({**LLAMA, "head_dim": None}) == shape_of(LLAMA)


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(QWEN))
    monkeypatch.setenv("ADDITIONAL_ARGS", "--kv-cache-dtype fp8 --max-num-seqs = 64")
    options = ["--capacity", "--gpu-memory", "79.6", "--gpu-others", "20", "--context", "8000", "--answer", "192"]
    result = CliRunner().invoke(app, ["check", "--model", str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    assert "7.62 billion parameters" in result.output
    assert "28 KiB a token" in result.output  # half of 56
    assert "GPUUTIL=0.72" in result.output
    assert "64 requests" in result.output  # as many as may run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--max-model-len=8k", "for a request of 8,000 tokens"),
        ("--max-model-len 8K", "for a request of 8,192 tokens"),
        ("--max_model_len auto", "for a request of 32,768 tokens"),
        ("-tp 2", "on each of 2 GPUs"),
        ("-tp=2 --pipeline-parallel-size 2", "on each of 4 GPUs"),
    ],
)
def test_numbers_are_read_as_vllm_reads_them(
    arguments: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = told(QWEN, tmp_path, monkeypatch, "--gpu-memory", "80", ADDITIONAL_ARGS=arguments)
    assert result.exit_code == 0
    assert says in result.output
    assert "an estimate" in result.output


@pytest.mark.parametrize(
    ("options", "arguments", "says"),
    [
        (["--gpu-memory", "0"], "", "--gpu-memory is 0"),
        (["--gpu-memory", "nan"], "", "--gpu-memory is nan"),
        (["--gpu-memory", "80", "--gpu-others", "-1"], "", "--gpu-others is -1"),
        (["--gpu-memory", "80"], "--tensor-parallel-size two", "--tensor-parallel-size two, which is no number"),
        (["--gpu-memory", "80"], "--max-num-seqs 0", "correct it"),
    ],
)
def test_the_command_refuses_what_is_no_number(
    options: list[str], arguments: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = told(QWEN, tmp_path, monkeypatch, *options, ADDITIONAL_ARGS=arguments)
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert says in result.output


def told(
    config: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, **variables: str
) -> Result:
    monkeypatch.chdir(folder)
    (folder / "config.json").write_text(json.dumps(config))
    return CliRunner().invoke(app, ["check", "--capacity", "--model", str(folder), *options], env=variables)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the model's folder"):
        read_shape(tmp_path / "gone")


def test_the_command_where_nothing_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(MIXTRAL))
    result = CliRunner().invoke(app, ["check", "--model", str(tmp_path), "--capacity", "--gpu-memory", "80"])
    assert result.exit_code == 1
    assert "does not fit" in result.output


def test_the_built_in_model_is_measured() -> None:
    assert read_shape(NANO_PATH).weight_bytes() == (NANO_PATH / "model.safetensors").stat().st_size
