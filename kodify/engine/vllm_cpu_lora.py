"""LoRA on a CPU, put right: beside requests with adapters, vLLM 0.32 gives those without the last adapter's weights.

Its torch code takes the index -1, which means no adapter, for the last one; its GPU kernels don't. vLLM imports this
module in the engine's own process, for the class that it is to extend its worker by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

Shrink = Callable[[Any, Any, Any, Any, float], None]


class WorkerExtension:
    """Adds nothing: naming it is what has this module imported there."""


def without_strangers(shrink: Shrink) -> Shrink:
    """`shrink` multiplies the activations `x` by the adapters' first matrices, into `y`: (tokens, rank). Rows of tokens
    without an adapter stay zero, and so does what the second matrices make of them."""

    def shrunk(self: Any, y: Any, x: Any, weights: Any, scale: float) -> None:
        shrink(self, y, x, weights, scale)
        indices = self.token_lora_indices
        y[: len(indices)][indices < 0] = 0

    return shrunk


PunicaWrapperCPU._shrink_prefill = without_strangers(PunicaWrapperCPU._shrink_prefill)
PunicaWrapperCPU._shrink_decode = without_strangers(PunicaWrapperCPU._shrink_decode)
