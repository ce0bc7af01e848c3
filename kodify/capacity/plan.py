"""What fits on a card: weights, the room beside them, and how many contexts the KV cache holds.

vLLM takes `ceil(GPUUTIL × total)` of each GPU, which must be free when it starts; from it go the weights, the largest
batch's activations and the CUDA graphs, and what is left is the KV cache. So GPUUTIL has two ends: the upper is what
other programs leave, `(total - theirs) / total`; the lower is what the model needs, `(weights + beside + one request) /
total`. The guides' `GPU_for_Kodify / GPU_total` is between them only where GPU_for_Kodify is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kodify.capacity.shape import Shape

GIB = 1024**3
BLOCK = 16  # tokens
LARGE_CARD = 70 * GIB  # from here on vLLM's batches are larger
CONTEXT_BYTES = GIB // 2  # CUDA's own, of each process
GRAPH_BYTES = GIB  # CUDA graphs; none with EAGER
MOST, MARGIN = 0.95, 0.02  # of a card that is ours alone; of one that is shared, for what grows


@dataclass(frozen=True, slots=True)
class Card:
    total: int  # bytes, as the driver tells: a card of 80 GB has 79.6 GiB, or less
    others: int = 0  # bytes that other programs hold at most
    count: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """How the engine will run, as far as memory is concerned."""

    tokens: int  # of a request, prompt and answer
    gpuutil: float = 0.9
    dtype: str = "auto"
    eager: bool = False
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    cache_bytes: int = 2  # of a value in the KV cache
    batched_tokens: int | None = None
    most_at_once: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Bytes are those of one GPU."""

    shape: Shape
    card: Card
    run: Run

    @property
    def weights(self) -> int:
        return self.shape.weight_bytes(self.run.dtype) // (self.run.tensor_parallel * self.run.pipeline_parallel)

    @property
    def batched_tokens(self) -> int:
        return self.run.batched_tokens or (8192 if self.card.total >= LARGE_CARD else 2048)

    @property
    def most_at_once(self) -> int:
        return self.run.most_at_once or (1024 if self.card.total >= LARGE_CARD else 256)

    @property
    def beside(self) -> int:
        """About: activations of the largest batch, its logits, CUDA graphs, CUDA itself."""
        shape, run = self.shape, self.run
        activations = self.batched_tokens * (4 * shape.hidden + 2 * shape.widest // run.tensor_parallel) * 2
        logits = min(self.most_at_once, self.batched_tokens) * shape.vocabulary * (2 + 4)
        return activations + logits + CONTEXT_BYTES + (0 if run.eager else GRAPH_BYTES)

    @property
    def token_bytes(self) -> int:
        """Of one token in every layer that keeps it."""
        return sum(layers * values for layers, values, _ in self._kept()) * self.run.cache_bytes

    @property
    def request_bytes(self) -> int:
        tokens = self.run.tokens
        return self.run.cache_bytes * sum(
            layers * values * _blocks(tokens if window is None else min(tokens, window + self.batched_tokens))
            for layers, values, window in self._kept()
        )

    def cache(self, gpuutil: float) -> int:
        """The KV cache's size; below 0 nothing starts."""
        return math.ceil(self.card.total * gpuutil) - self.weights - self.beside

    def at_once(self, gpuutil: float) -> int:
        return max(0, min(self.cache(gpuutil) // self.request_bytes, self.most_at_once))

    @property
    def least_gpuutil(self) -> float:
        """With which one request fits; above 1 where none does."""
        return math.ceil((self.weights + self.beside + self.request_bytes) / self.card.total * 100) / 100

    @property
    def most_gpuutil(self) -> float:
        share = (self.card.total - self.card.others) / self.card.total
        return math.floor(min(MOST, share - (MARGIN if self.card.others else 0)) * 100) / 100

    def _kept(self) -> list[tuple[int, int, int | None]]:
        """Layers, values of a token in each, window; on the GPU that has the most."""
        run = self.run
        return [
            (
                math.ceil(part.layers / run.pipeline_parallel),
                part.values // min(run.tensor_parallel, part.heads) if part.heads else part.values,
                part.window,
            )
            for part in self.shape.kept
        ]


def _blocks(tokens: int) -> int:
    return math.ceil(tokens / BLOCK) * BLOCK
