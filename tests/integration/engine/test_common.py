"""The short way for common requests makes what vLLM's own models and renderer make, and leaves them the rest."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

from vllm.renderers import renderer_from_config
from vllm.v1.engine.input_processor import InputProcessor

from kodify.engine.vllm_arguments import engine_arguments, prepare_environment
from kodify.engine.vllm_common import SAMPLE_CHATS, SAMPLE_COMPLETIONS, CommonChat, CommonCompletion, CommonReader
from kodify.engine.vllm_direct import DirectPath
from kodify.engine.vllm_requests import RequestReader
from kodify.errors import BadRequestError
from kodify.settings import Settings

# The documented field; vLLM's own model warns of it at each look.
pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated")

USER = [{"role": "user", "content": "hi"}]
CHATS: list[dict[str, Any]] = [
    *SAMPLE_CHATS,
    {"messages": USER, "stop": None, "logprobs": False, "tools": None, "tool_choice": "none", "user": "me"},
    {"messages": USER, "stream": True, "stream_options": {"include_usage": True}},
    {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "b"}]}]},
    {"messages": [{"role": "user", "content": "line\n" * 500}], "max_tokens": 1},
    {"messages": [{"role": "assistant", "content": "first"}], "temperature": 2, "top_p": 1, "seed": -1},
]
COMPLETIONS: list[dict[str, Any]] = [
    *SAMPLE_COMPLETIONS,
    {"prompt": "a", "suffix": None, "best_of": 1, "echo": False, "logprobs": None, "logit_bias": None},
    {"prompt": ["a", "b\r\n"], "max_tokens": 2, "frequency_penalty": 2},
    {"prompt": [[1, 2], [3]], "presence_penalty": -2, "stop_token_ids": [7, 8]},
    {"prompt": "\x00<|endoftext|>", "temperature": 0},
]
# Valid for vLLM's models, but not common: each is left to them.
UNCOMMON: list[dict[str, Any]] = [
    {"messages": USER, "n": 2},
    {"messages": USER, "logprobs": True},
    {"messages": USER, "response_format": {"type": "json_object"}},
    {"messages": USER, "min_tokens": 3},
    {"messages": USER, "some_plugin_field": 1},
    {"messages": USER, "temperature": "0.5"},
    {"messages": USER, "chat_template_kwargs": {"enable_thinking": False}},
    {"messages": [{"role": "user", "content": "hi", "name": "me"}]},
    {"messages": [{"role": "developer", "content": "hi"}]},
    {"messages": [*USER, {"role": "tool", "tool_call_id": "1", "content": "2"}]},
    {"messages": [{"role": "system", "content": "x-anthropic-billing-header: cch=1\nBe brief."}, *USER]},
]


@pytest.fixture(scope="module")
def engine() -> Any:
    """A vLLM engine as far as requests see it, without the process that computes."""
    settings = Settings(model=None)
    prepare_environment(settings)
    arguments, flags = engine_arguments(settings)
    config = arguments.create_engine_config()
    renderer = renderer_from_config(config)
    processor = InputProcessor(config, renderer)
    yield SimpleNamespace(
        model_config=config.model_config,
        renderer=renderer,
        input_processor=processor,
        get_tokenizer=renderer.get_tokenizer,
        flags=flags,
    )
    renderer.shutdown()


class Readers:
    """One that knows the short way and one that doesn't."""

    def __init__(self, engine: Any) -> None:
        self.requests = Counter("requests", "By reader.", ["reader"], registry=CollectorRegistry())
        counters = (self.requests.labels("kodify"), self.requests.labels("vllm"))
        self.short = RequestReader(engine, engine.flags, *counters)
        self.full = RequestReader(engine, engine.flags, *counters)

    def count(self, reader: str) -> float:
        return float(self.requests.labels(reader)._value.get())


@pytest.fixture
async def readers(engine: Any) -> Readers:
    found = Readers(engine)
    await found.short.use_common_reader()
    assert found.short._common is not None
    return found


async def job_of(reader: RequestReader, body: dict[str, Any]) -> Any:
    body = {"model": "nano", **body}
    if "messages" in body:
        return await reader.chat_job(reader.parse_chat(body), "id", "nano")
    return await reader.completion_job(reader.parse_completion(body), "id", "nano")


@pytest.mark.parametrize("body", [*CHATS, *COMPLETIONS], ids=lambda body: str(body)[:80])
async def test_prompts_and_parameters_are_vllms(engine: Any, readers: Readers, body: dict[str, Any]) -> None:
    ours, theirs = await job_of(readers.short, body), await job_of(readers.full, body)
    assert (readers.count("kodify"), readers.count("vllm")) == (1, 1)
    assert [p.token_ids for p in ours.prompts] == [p.token_ids for p in theirs.prompts]
    assert [p.text for p in ours.prompts] == [p.text for p in theirs.prompts]
    assert ours.plan.sampling == theirs.plan.sampling
    assert ours.plan.streamed == theirs.plan.streamed
    path = DirectPath(engine, None, show_cached_tokens=False)  # type: ignore[arg-type]
    path._supported_tasks = ("generate",)
    for position in range(len(ours.prompts)):
        wanted = path.full_request("id", theirs.plan, position, 0)
        made = path.common_request("id", ours.plan, position, 0)
        wanted.arrival_time = made.arrival_time
        assert made == wanted


@pytest.mark.parametrize("body", UNCOMMON, ids=lambda body: str(body)[:80])
async def test_what_is_not_common_is_vllms(readers: Readers, body: dict[str, Any]) -> None:
    ours, theirs = await job_of(readers.short, body), await job_of(readers.full, body)
    assert (readers.count("kodify"), readers.count("vllm")) == (0, 2)
    assert ours.prompts == theirs.prompts
    assert ours.plan.sampling == theirs.plan.sampling
    assert not ours.plan.common


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": USER, "stream_options": {"include_usage": True}},
        {"messages": USER, "stop": list(map(str, range(65)))},
        {"messages": USER, "seed": 2**64},
        {"messages": USER, "max_tokens": 4096},
        {"messages": [{"role": "user", "content": "word " * 5000}]},
        {"prompt": "word " * 200_000},
        {"prompt": ""},
        {"prompt": []},
        {"prompt": [1, "a"]},
        {"prompt": [-1]},
        {"prompt": ["a", [1, 2]]},
        {"prompt": [5, "a"]},
        {"prompt": ["x"] * 1025},
        {"prompt": "a", "n": None},
        {"prompt": "a", "stop": ""},
        {"messages": USER, "stop": ["\n", ""]},
        {"messages": USER, "top_k": -2},
        {"messages": USER, "repetition_penalty": 0},
        {"prompt": "a", "repetition_penalty": -1},
    ],
    ids=lambda body: str(body)[:60],
)
async def test_refusals_are_in_the_same_words(readers: Readers, body: dict[str, Any]) -> None:
    async def outcome(reader: RequestReader) -> str:
        try:
            return str((await job_of(reader, body)).prompts)
        except BadRequestError as error:
            return error.message

    assert await outcome(readers.short) == await outcome(readers.full)


@pytest.mark.parametrize("rare", [{}, {"min_tokens": 1}])
async def test_a_hole_at_the_start_of_a_file_is_one(readers: Readers, rare: dict[str, Any]) -> None:
    request = readers.short.parse_completion({"model": "nano", "prompt": "", "suffix": "rest", **rare})
    assert (request.prompt, request.suffix) == ("", "rest")


async def test_many_texts_are_tokenized_in_a_thread(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    common = readers.short._common
    assert common is not None
    monkeypatch.setattr(common._tokenizer, "quick_characters", 10)
    in_place: list[bool] = []

    async def tokenize(text: str, special: bool, quick: bool) -> list[int]:
        in_place.append(quick)
        return [1]

    monkeypatch.setattr(common, "_tokenize", tokenize)
    await job_of(readers.short, {"prompt": ["12345678", "12345678"]})
    assert in_place == [False, False]


async def test_a_long_text_is_tokenized_in_a_thread(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    common = readers.short._common
    assert common is not None
    monkeypatch.setattr(common._tokenizer, "quick_characters", 10)
    threads = []
    run = asyncio.to_thread

    async def to_thread(*args: Any, **kwargs: Any) -> Any:
        threads.append(args)
        return await run(*args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    body = {"prompt": "more than ten characters"}
    assert (await job_of(readers.short, body)).prompts == (await job_of(readers.full, body)).prompts
    assert len(threads) == 1


async def test_a_template_that_renders_otherwise_closes_the_short_way(
    engine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(CommonReader, "_content", lambda self, content: "not what was said")
    readers = Readers(engine)
    await readers.short.use_common_reader()
    assert readers.short._common is None
    assert "the short way differs" in caplog.text
    assert not isinstance(readers.short.parse_chat({"model": "nano", "messages": USER}), CommonChat)


async def test_a_model_without_a_chat_template_keeps_the_short_way_for_completions(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kodify.engine.vllm_common.resolve_chat_template", lambda *_, **__: None)
    readers = Readers(engine)
    await readers.short.use_common_reader()
    assert not isinstance(readers.short.parse_chat({"model": "nano", "messages": USER}), CommonChat)
    assert isinstance(readers.short.parse_completion({"model": "nano", "prompt": "x"}), CommonCompletion)
