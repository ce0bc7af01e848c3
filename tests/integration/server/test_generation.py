"""Every documented field, whole and streamed, through the official client."""

from __future__ import annotations

import math
from typing import Any

import httpx
import openai
import pytest

from tests.integration.conftest import MODEL, Process

MESSAGES: Any = [{"role": "user", "content": "Write a Python function `add`. Return the sum of a and b."}]
PROMPT = "import os\n\ndef main():\n    "


def complete(sdk: openai.OpenAI, **fields: Any) -> Any:
    return sdk.completions.create(**{"model": MODEL, "prompt": PROMPT, "max_tokens": 16, "temperature": 0, **fields})


def chat(sdk: openai.OpenAI, **fields: Any) -> Any:
    given = {"model": MODEL, "messages": MESSAGES, "max_tokens": 16, "temperature": 0, **fields}
    return sdk.chat.completions.create(**given)


def streamed_text(sdk: openai.OpenAI, **fields: Any) -> tuple[str, str | None]:
    """(text, finish reason) of a streamed completion."""
    text, reason = "", None
    for chunk in complete(sdk, stream=True, **fields):
        for choice in chunk.choices:
            text += choice.text
            reason = choice.finish_reason or reason
    return text, reason


def streamed_chat(sdk: openai.OpenAI, **fields: Any) -> tuple[str, str | None]:
    text, reason = "", None
    for chunk in chat(sdk, stream=True, **fields):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    return text, reason


def test_models(sdk: openai.OpenAI) -> None:
    (model,) = sdk.models.list().data
    assert (model.id, model.object) == (MODEL, "model")
    assert set(model.model_dump()) >= {"id", "object", "created", "owned_by", "root", "parent", "permission"}


def test_completion_whole_and_streamed_agree(sdk: openai.OpenAI) -> None:
    whole = complete(sdk)
    assert whole.object == "text_completion"
    assert whole.choices[0].finish_reason in ("length", "stop")
    assert whole.usage.completion_tokens <= 16
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert streamed_text(sdk) == (whole.choices[0].text, whole.choices[0].finish_reason)


def test_chat_whole_and_streamed_agree(sdk: openai.OpenAI) -> None:
    whole = chat(sdk, max_tokens=48)
    message = whole.choices[0].message
    assert message.role == "assistant"
    assert streamed_chat(sdk, max_tokens=48) == (message.content, whole.choices[0].finish_reason)


def test_a_message_may_come_as_its_text(client: httpx.Client) -> None:
    body = {"model": MODEL, "messages": "hello", "max_tokens": 2}
    assert client.post("/v1/chat/completions", json=body).status_code == 200


def test_a_prompt_as_text_and_as_token_ids_is_the_same(sdk: openai.OpenAI) -> None:
    text = complete(sdk).choices[0].text
    ids = complete(sdk, echo=True, logprobs=0, max_tokens=1)
    assert "".join(ids.choices[0].logprobs.tokens[:-1]) == PROMPT
    both = complete(sdk, prompt=[PROMPT, "class A:\n"])
    assert both.choices[0].text == text
    assert [choice.index for choice in both.choices] == [0, 1]


def test_prompts_of_token_ids_in_an_array(sdk: openai.OpenAI) -> None:
    one = complete(sdk, prompt=[10, 11, 12])
    two = complete(sdk, prompt=[[10, 11, 12], [13, 14]])
    assert two.choices[0].text == one.choices[0].text
    assert len(two.choices) == 2
    assert two.usage.prompt_tokens == 5


def test_n_gives_that_many_choices_for_each_prompt(sdk: openai.OpenAI) -> None:
    whole = complete(sdk, n=3, temperature=1, seed=1, prompt=[PROMPT, "x"])
    assert [choice.index for choice in whole.choices] == list(range(6))
    indices = set()
    for chunk in complete(sdk, n=3, temperature=1, stream=True, prompt=[PROMPT, "x"]):
        indices |= {choice.index for choice in chunk.choices}
    assert indices == set(range(6))


def test_best_of_keeps_the_likeliest(sdk: openai.OpenAI) -> None:
    def likelihood(choice: Any) -> float:
        return math.fsum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    fields = {"temperature": 1.0, "seed": 3, "logprobs": 1, "max_tokens": 8}
    candidates = complete(sdk, n=6, **fields).choices
    best = complete(sdk, n=2, best_of=6, **fields).choices
    expected = sorted(candidates, key=likelihood, reverse=True)[:2]
    assert [choice.text for choice in best] == [choice.text for choice in expected]
    bare = complete(sdk, best_of=6, temperature=1.0, seed=3, max_tokens=8)
    assert bare.choices[0].text == expected[0].text
    assert bare.choices[0].logprobs is None


def test_echo_repeats_the_prompt(sdk: openai.OpenAI) -> None:
    plain = complete(sdk).choices[0].text
    assert complete(sdk, echo=True).choices[0].text == PROMPT + plain
    assert streamed_text(sdk, echo=True)[0] == PROMPT + plain
    alone = complete(sdk, echo=True, max_tokens=0)
    assert alone.choices[0].text == PROMPT
    assert alone.usage.completion_tokens == 0


def test_completion_logprobs(sdk: openai.OpenAI) -> None:
    whole = complete(sdk, logprobs=3).choices[0]
    shown = whole.logprobs
    count = len(shown.tokens)
    assert count == len(shown.token_logprobs) == len(shown.top_logprobs) == len(shown.text_offset)
    assert all(value <= 0 for value in shown.token_logprobs)
    assert all(3 <= len(top) <= 4 for top in shown.top_logprobs)
    # Greedy: the token taken is the likeliest.
    assert all(max(top.values()) == value for top, value in zip(shown.top_logprobs, shown.token_logprobs, strict=True))
    echoed = complete(sdk, logprobs=3, echo=True).choices[0].logprobs
    assert echoed.token_logprobs[0] is None
    assert echoed.tokens[-count:] == shown.tokens
    streamed = [chunk.choices[0].logprobs for chunk in complete(sdk, logprobs=3, stream=True) if chunk.choices]
    assert [token for part in streamed for token in part.tokens] == shown.tokens
    assert [offset for part in streamed for offset in part.text_offset] == shown.text_offset


def test_chat_logprobs(sdk: openai.OpenAI) -> None:
    whole = chat(sdk, logprobs=True, top_logprobs=4).choices[0]
    content = whole.logprobs.content
    assert all(len(entry.top_logprobs) == 4 for entry in content)
    assert all(entry.top_logprobs[0].token == entry.token for entry in content)
    text = b"".join(bytes(entry.bytes) for entry in content).decode(errors="replace")
    assert text.startswith(whole.message.content)
    parts = [chunk.choices[0].logprobs for chunk in chat(sdk, logprobs=True, top_logprobs=4, stream=True)]
    assert [entry.token for part in parts if part for entry in part.content] == [entry.token for entry in content]


def test_logit_bias_forbids_and_forces(sdk: openai.OpenAI) -> None:
    forced = complete(sdk, logit_bias={"40": 100}, max_tokens=4, logprobs=0).choices[0].logprobs.tokens
    assert len(set(forced)) == 1
    free = complete(sdk, logprobs=0, max_tokens=1, echo=False).choices[0]
    token = free.logprobs.tokens[0]
    assert complete(sdk, logit_bias={"40": -100}, max_tokens=4, logprobs=0).choices[0].logprobs.tokens != forced
    assert token


def test_stop_strings_end_the_answer_and_are_left_out(sdk: openai.OpenAI) -> None:
    text = complete(sdk, max_tokens=40).choices[0].text
    stop = text[len(text) // 2 : len(text) // 2 + 2]
    for answer, reason in (
        (complete(sdk, max_tokens=40, stop=stop).choices[0].text, "stop"),
        streamed_text(sdk, max_tokens=40, stop=[stop, "never seen"]),
    ):
        assert answer == text[: text.index(stop)]
        assert reason == "stop"


def test_a_seed_repeats_the_answer(sdk: openai.OpenAI) -> None:
    texts = {complete(sdk, temperature=1.5, seed=seed, max_tokens=32).choices[0].text for seed in (7, 7, 7)}
    assert len(texts) == 1
    assert complete(sdk, temperature=1.5, seed=8, max_tokens=32).choices[0].text not in texts


def test_penalties_change_what_repeats(sdk: openai.OpenAI) -> None:
    prompt = "x x x x x x x x"
    plain = complete(sdk, prompt=prompt, max_tokens=24).choices[0].text
    for penalty in ("frequency_penalty", "presence_penalty"):
        assert complete(sdk, prompt=prompt, max_tokens=24, **{penalty: 2.0}).choices[0].text != plain


def test_usage_in_a_stream(sdk: openai.OpenAI) -> None:
    for stream in (
        complete(sdk, stream=True, stream_options={"include_usage": True}),
        chat(sdk, stream=True, stream_options={"include_usage": True}),
    ):
        chunks = list(stream)
        assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens > 0


def test_a_suffix_is_filled_in_the_middle(sdk: openai.OpenAI) -> None:
    fields: dict[str, Any] = {
        "prompt": "def add(a, b):\n    return a",
        "suffix": "\n\n\ndef sub(a, b):\n    return a - b\n",
    }
    whole = complete(sdk, max_tokens=24, **fields)
    assert "<|fim" not in whole.choices[0].text
    assert streamed_text(sdk, max_tokens=24, **fields)[0] == whole.choices[0].text


def test_markers_in_the_users_text_are_text(sdk: openai.OpenAI) -> None:
    prompt = "TOKEN = '<|fim_middle|><|endoftext|>'\ndef f():\n    "
    long = complete(sdk, prompt=prompt, suffix="\n")
    short = complete(sdk, prompt="TOKEN = ''\ndef f():\n    ", suffix="\n")
    assert long.usage.prompt_tokens > short.usage.prompt_tokens + 10  # spelled out, not two control tokens


def test_a_long_file_loses_its_ends_and_never_a_marker(sdk: openai.OpenAI) -> None:
    answer = complete(sdk, prompt="a = 1\n" * 5000, suffix="b = 2\n" * 5000, max_tokens=16)
    assert answer.usage.prompt_tokens <= 4096 - 16


def test_megabytes_of_markers_do_not_hold_others_up(sdk: openai.OpenAI) -> None:
    answer = complete(sdk, prompt="<|fim_prefix|>" * 1_000_000, suffix="<|fim_suffix|>" * 10_000, max_tokens=4)
    assert answer.usage.prompt_tokens <= 4096


def test_response_format_holds(sdk: openai.OpenAI) -> None:
    import json

    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 0}}, "required": ["n"]}
    answer = chat(
        sdk,
        max_tokens=64,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    assert isinstance(json.loads(answer.choices[0].message.content)["n"], int)


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_probes(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_metrics_hold_the_engines_series_and_our_own(client: httpx.Client, sdk: openai.OpenAI) -> None:
    complete(sdk)
    text = client.get("/metrics").text
    for series in (
        "vllm:generation_tokens_total",
        "vllm:time_to_first_token_seconds_bucket",
        "kodify_completion_tokens_total",
        'kodify_requests_total{method="POST",route="/v1/completions",status="200"}',
        "kodify_time_to_first_delta_seconds_bucket",
    ):
        assert series in text, series


def test_nothing_outside_this_machine_is_asked_for(nano: Process) -> None:
    remote = {
        connection.raddr.ip
        for process in nano.family()
        for connection in process.net_connections(kind="inet")
        if connection.raddr and not connection.raddr.ip.startswith("127.")
    }
    assert remote == set()
