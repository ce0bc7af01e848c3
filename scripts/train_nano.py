"""Trains the built-in nano model from the running Python's standard library and measures it.

    .venv/bin/python scripts/train_nano.py [--out kodify/nano]

Needs torch, tokenizers and transformers, which the engine's locked set installs. Seeded; on two cores
of a recent x86 server it takes about 40 minutes. `--measure` only measures what lies in --out.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from nano import measure, vocabulary
from nano.corpus import Corpus, read_sources
from torch.nn import functional
from transformers import AutoTokenizer, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

SEED = 20261121
CONTEXT = 4096


@dataclass(frozen=True)
class Stage:
    steps: int
    length: int  # tokens
    rows: int


# Attention on a CPU is dear at full length: most steps are short, the last ones teach the long context.
STAGES = [Stage(800, 256, 16), Stage(450, 512, 12), Stage(130, 1024, 8), Stage(90, 2048, 4), Stage(45, 4096, 2)]
# Of a fill-in-the-middle document the hole is what is to be learned; plain text weighs 1.
HOLE_WEIGHT, AROUND_WEIGHT = 1.5, 0.5
MUON_RATE, ADAM_RATE, WARM_UP_STEPS, DECAY_FROM = 0.02, 4e-3, 40, 0.45
FILLED_LINES = 500


def build_model() -> Qwen2ForCausalLM:
    torch.manual_seed(SEED)
    config = Qwen2Config(
        vocab_size=vocabulary.VOCABULARY_SIZE,
        hidden_size=320,
        intermediate_size=1024,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    return Qwen2ForCausalLM(config)


def rate_factor(step: int, steps: int) -> float:
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    remaining = (steps - step) / steps
    return min(1.0, max(0.01, remaining / (1 - DECAY_FROM)))


def token_weights(batch: torch.Tensor, middle: int, end: int) -> torch.Tensor:
    """For [rows, length] ids the weights [rows, length - 1] of predicting each id but the first."""
    places = torch.arange(batch.shape[1], device=batch.device).expand_as(batch)
    last_middle = torch.where(batch == middle, places, -1).cummax(dim=1).values
    last_end = torch.where(batch == end, places, -1).cummax(dim=1).values
    in_hole = (last_middle > last_end)[:, :-1]
    has_holes = (batch == middle).any(dim=1, keepdim=True)
    around = torch.where(has_holes, AROUND_WEIGHT, 1.0).expand_as(in_hole)
    return torch.where(in_hole, HOLE_WEIGHT, around)


def train(model: Qwen2ForCausalLM, corpus: Corpus, plan: list[Stage], device: str) -> None:
    model.to(device).train()
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=MUON_RATE, momentum=0.95, nesterov=True, weight_decay=0.02),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    base_rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    step, shown, started = 0, 0.0, time.monotonic()
    total = sum(stage.steps for stage in plan)
    for stage in plan:
        sequences = corpus.sequences(stage.length)
        for _ in range(stage.steps):
            rows = [next(sequences) for _ in range(stage.rows)]
            batch = torch.tensor(rows, device=device)
            with torch.autocast(device, torch.bfloat16):
                hidden = model.model(batch).last_hidden_state
                logits = model.lm_head(hidden[:, :-1])
            losses = functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
            weights = token_weights(batch, corpus.middle_marker, corpus.end_marker).flatten()
            loss = (losses * weights).sum() / weights.sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(others, 1.0)
            groups = [group for optimizer in optimizers for group in optimizer.param_groups]
            for group, rate in zip(groups, base_rates, strict=True):
                group["lr"] = rate * rate_factor(step, total)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            shown = 0.95 * shown + 0.05 * loss.item() if step > 1 else loss.item()
            if step % 20 == 0 or step == total:
                minutes = (time.monotonic() - started) / 60
                print(f"step {step}/{total}  length {stage.length}  loss {shown:.3f}  {minutes:.1f} min", flush=True)


def export(model: Qwen2ForCausalLM, out: Path) -> None:
    model.to("cpu", torch.bfloat16).eval()
    tokenizer = AutoTokenizer.from_pretrained(out, local_files_only=True)
    ends = [tokenizer.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|im_end|>")]
    model.config.eos_token_id = ends[0]
    model.config.bos_token_id = None
    model.config.pad_token_id = ends[0]
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=ends[0])
    model.save_pretrained(out)
    for path in out.iterdir():
        path.chmod(0o644)  # safetensors writes for its owner alone


def report(out: Path) -> dict[str, float]:
    """Measures the exported files, as anyone can who has the same Python."""
    _, held_out = read_sources()
    tokenizer = AutoTokenizer.from_pretrained(out, local_files_only=True)
    model = Qwen2ForCausalLM.from_pretrained(out, dtype=torch.float32, local_files_only=True).eval()
    figures = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "held_out_files": len(held_out),
        "held_out_bytes": sum(len(source.text.encode()) for source in held_out),
        "bits_per_byte": round(measure.bits_per_byte(model, tokenizer, held_out, CONTEXT // 2), 3),
        "gzip_bits_per_byte": round(measure.gzip_bits_per_byte(held_out), 3),
        "lines_asked": FILLED_LINES,
        "lines_filled": round(measure.share_of_lines_filled(model, tokenizer, held_out, FILLED_LINES, SEED), 3),
    }
    print(json.dumps(figures, indent=2))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("kodify/nano"))
    parser.add_argument("--longer", type=float, default=1.0, help="multiply the number of steps, on a faster machine")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--measure", action="store_true", help="measure what lies in --out, train nothing")
    options = parser.parse_args()
    if not options.measure:
        options.out.mkdir(parents=True, exist_ok=True)
        training, held_out = read_sources()
        tokenizer = vocabulary.train([source.text for source in training])
        vocabulary.save(tokenizer, options.out, CONTEXT, [source.text for source in held_out])
        corpus = Corpus(training, tokenizer, SEED)
        plan = [replace(stage, steps=max(1, round(stage.steps * options.longer))) for stage in STAGES]
        model = build_model()
        size = sum(p.numel() for p in model.parameters())
        print(f"{len(training)} files, {corpus.tokens} tokens; {size} parameters on {options.device}", flush=True)
        train(model, corpus, plan, options.device)
        export(model, options.out)
    report(options.out)


if __name__ == "__main__":
    main()
