"""ADDITIONAL_ARGS: every vLLM argument, as the guides write it, and a hint for one that is none."""

from __future__ import annotations

from typing import Any

import pytest

from kodify.engine.vllm_arguments import engine_arguments, split_arguments
from kodify.errors import ConfigError
from kodify.settings import NANO_PATH, Settings


def given(settings: Settings, **fields: Any) -> Settings:
    return settings.model_copy(update={"model": str(NANO_PATH), **fields})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("--a=1 --b", ["--a=1", "--b"]),
        ("--a = 1", ["--a=1"]),
        ("--a =1 --b= 2", ["--a=1", "--b=2"]),
        ("--a 1", ["--a", "1"]),
        ('--a \'{"x": "y = z"}\'', ["--a", '{"x": "y = z"}']),
        ("--a=b= --c", ["--a=b=", "--c"]),
    ],
)
def test_blanks_around_the_equals_sign_are_dropped(text: str, words: list[str]) -> None:
    assert split_arguments(text) == words


def test_settings_and_additional_arguments_reach_the_engine(settings: Settings) -> None:
    text = (
        "--max-model-len=2048 --tensor-parallel-size = 2 --pipeline-parallel-size=1 --enable-auto-tool-choice "
        "--tool-call-parser hermes --no-enable-prefix-caching --max_num_seqs 7 --seed 3"
    )
    arguments, flags = engine_arguments(given(settings, gpuutil=0.5, dtype="float32", eager=True, additional_args=text))
    assert arguments.model == str(NANO_PATH)
    assert (arguments.gpu_memory_utilization, arguments.dtype, arguments.enforce_eager) == (0.5, "float32", True)
    assert (arguments.max_model_len, arguments.tensor_parallel_size, arguments.max_num_seqs) == (2048, 2, 7)
    assert arguments.enable_prefix_caching is False
    assert (flags.enable_auto_tool_choice, flags.tool_call_parser) == (True, "hermes")


def test_additional_arguments_win_over_the_variables(settings: Settings) -> None:
    arguments, _ = engine_arguments(
        given(settings, gpuutil=0.5, additional_args="--gpu-memory-utilization=0.7 --dtype bfloat16")
    )
    assert (arguments.gpu_memory_utilization, arguments.dtype) == (0.7, "bfloat16")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("--max-model-length=5", "--max-model-length, which vLLM does not know: did you mean --max-model-len?"),
        ("--tensor_paralel_size 2", "which vLLM does not know: did you mean --tensor-parallel-size?"),
        ("--qqqq", "ADDITIONAL_ARGS has --qqqq, which vLLM does not know."),
        ("--max-num-seqs=many", "ADDITIONAL_ARGS: argument --max-num-seqs"),
        ("--enable-auto-tool-choice", "--enable-auto-tool-choice needs --tool-call-parser"),
        ("--model /other", "ADDITIONAL_ARGS has --model: set MODEL instead."),
        ("--served-model-name x", "ADDITIONAL_ARGS has --served-model-name: set SERVED_MODEL_NAME instead."),
        ("--config /no/such/file", "ADDITIONAL_ARGS: "),
        ("--a 'b", "ADDITIONAL_ARGS can't be split into words"),
    ],
)
def test_an_argument_that_is_none_is_refused_with_a_hint(settings: Settings, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        engine_arguments(given(settings, additional_args=text))
    assert sentence in caught.value.message
