"""`kodify check --capacity`: what each model needs of the GPUs, and the GPUUTIL to set."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kodify.capacity import Card, Plan, Run, Shape, read_shape
from kodify.capacity.plan import GIB
from kodify.errors import ConfigError
from kodify.settings import Settings, is_local_path

NARROW_CACHE = ("fp8", "int8")
UNITS = {"": 1, "k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}


def report(
    settings: Settings, gpu_gib: float | None, others_gib: float | None, context: int | None, answer: int
) -> tuple[list[str], bool]:
    """Lines, and whether everything fits. Raises ConfigError where something can't be told."""
    card = _card(gpu_gib, others_gib)
    lines: list[str] = []
    fits = True
    for _, own in settings.models:
        if not is_local_path(own.model_path):
            raise ConfigError(
                f"MODEL is {own.model_path}, a hub id: capacity is read from a folder's config.json. Give --model a "
                "folder that has it; the weights need not be there."
            )
        plan = Plan(shape := read_shape(Path(own.model_path)), card, _run(own, shape, context, answer))
        lines.extend(_lines(own, plan))
        fits &= plan.least_gpuutil <= plan.most_gpuutil
    return lines, fits


def _lines(settings: Settings, plan: Plan) -> Iterator[str]:
    shape, run, card = plan.shape, plan.run, plan.card
    measured = "its files" if shape.file_bytes else "counted from config.json"
    gpus = run.tensor_parallel * run.pipeline_parallel
    each = "" if gpus == 1 else f" on each of {gpus} GPUs"
    yield f"{settings.served_names[0]}: {shape.kind}, {shape.parameters / 1e9:.2f} billion parameters"
    yield f"  weights: {plan.weights / GIB:.1f} GiB{each} ({measured})"
    yield (
        f"  beside them: about {plan.beside / GIB:.1f} GiB for activations, CUDA graphs and CUDA itself: an "
        "estimate, the log of a start tells it exactly"
    )
    yield (
        f"  KV cache: {plan.token_bytes / 1024:.4g} KiB a token, {plan.request_bytes / GIB:.2f} GiB for a request of "
        f"{run.tokens:,} tokens, prompt and answer"
    )
    yield f"  a GPU: {card.total / GIB:.1f} GiB, of which others hold {card.others / GIB:.1f}"
    if plan.least_gpuutil > plan.most_gpuutil:
        yield (
            f"  It does not fit: it needs GPUUTIL={plan.least_gpuutil:.2f} for one such request, and "
            f"{plan.most_gpuutil:.2f} is the most. Take more GPUs (--tensor-parallel-size), a quantised model, or a "
            "shorter --max-model-len."
        )
        return
    yield f"  GPUUTIL: from {plan.least_gpuutil:.2f} (one such request) to {plan.most_gpuutil:.2f} (what others leave)"
    for gpuutil, remark in ((plan.most_gpuutil, "the most"), (settings.gpuutil, "as set")):
        fit = plan.at_once(gpuutil)
        too_much = ": more than is free, it will not start" if gpuutil > plan.most_gpuutil + 0.005 else ""
        tokens = max(0, plan.cache(gpuutil)) // plan.token_bytes
        yield f"  GPUUTIL={gpuutil:.2f} ({remark}): {fit} requests at once, {tokens:,} tokens of KV cache{too_much}"


def _run(settings: Settings, shape: Shape, context: int | None, answer: int) -> Run:
    given = settings.engine_arguments
    longest = _number(given, "max-model-len") or shape.longest
    narrow = (_argument(given, "kv-cache-dtype") or "auto").startswith(NARROW_CACHE)
    return Run(
        tokens=longest if context is None else min(context + answer, longest),
        gpuutil=settings.gpuutil,
        dtype=settings.dtype,
        eager=settings.eager,
        tensor_parallel=_number(given, "tensor-parallel-size", "tp") or 1,
        pipeline_parallel=_number(given, "pipeline-parallel-size", "pp") or 1,
        cache_bytes=1 if narrow else 2,
        batched_tokens=_number(given, "max-num-batched-tokens"),
        most_at_once=_number(given, "max-num-seqs"),
    )


def _number(given: str, name: str, short: str = "") -> int | None:
    """As vLLM reads it: 32k is 32,000 and 32K 32,768. None where it is unset, or vLLM is to find it (auto, -1)."""
    found = _argument(given, name, short)
    if found is None or found.lower() in ("auto", "-1"):
        return None
    number = re.fullmatch(r"([1-9]\d*(?:\.\d+)?)([kKmM]?)", found)
    if number is None:
        raise ConfigError(f"ADDITIONAL_ARGS has --{name} {found}, which is no number above 0: correct it.")
    return int(float(number[1]) * UNITS[number[2]])


def _argument(given: str, name: str, short: str = "") -> str | None:
    """The last of that name, in any of the spellings that ADDITIONAL_ARGS takes."""
    spelled = "--" + name.replace("-", "[-_]") + (f"|-{short}" if short else "")
    found = re.findall(rf"(?:^|\s)(?:{spelled})(?:\s*=\s*|\s+)(\S+)", given)
    return found[-1] if found else None


def _card(gpu_gib: float | None, others_gib: float | None) -> Card:
    if gpu_gib is not None and not 0.5 <= gpu_gib <= 10_000:  # nan is neither
        raise ConfigError(f"--gpu-memory is {gpu_gib:g}: give a GPU's memory in GiB, as the driver tells it.")
    if others_gib is not None and not 0 <= others_gib <= 10_000:
        raise ConfigError(f"--gpu-others is {others_gib:g}: give what other programs hold at most, in GiB.")
    total, used = (gpu_gib * GIB, 0.0) if gpu_gib is not None else _asked()
    return Card(int(total), int(used if others_gib is None else others_gib * GIB))


def _asked() -> tuple[float, float]:
    """The smallest GPU's memory and what is used of it now, in bytes."""
    command = ["nvidia-smi", "--query-gpu=memory.total,memory.used", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        cards = [tuple(float(figure) * 1024**2 for figure in line.split(",")) for line in answer.splitlines()]
        total, used = min(cards)
    except (OSError, ValueError, subprocess.SubprocessError):
        raise ConfigError("nvidia-smi tells of no GPU here: give its memory with --gpu-memory, in GiB.") from None
    return total, used
