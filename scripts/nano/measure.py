"""Measurements of the nano model on held-out files: bits per byte, and lines filled exactly."""

from __future__ import annotations

import ast
import gzip
import math
import random

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from .corpus import Source

PREFIX_TOKENS = 300
SUFFIX_TOKENS = 100
LINE_TOKENS = 48


def gzip_bits_per_byte(sources: list[Source]) -> float:
    raw = [source.text.encode() for source in sources]
    return 8 * sum(len(gzip.compress(data, 9)) for data in raw) / sum(map(len, raw))


@torch.inference_mode()
def bits_per_byte(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, sources: list[Source], context: int
) -> float:
    """Each file on its own, in windows of `context` tokens that overlap by half, so that every token of
    a long file but the first `context` is predicted from at least `context` / 2 tokens before it."""
    bits = 0.0
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    for source in sources:
        ids = torch.tensor([end, *tokenizer.encode(source.text, add_special_tokens=False)])
        scored = 1
        for start in range(0, len(ids), context // 2):
            window = ids[start : start + context]
            if start + len(window) <= scored:
                break
            logits = model(window[None]).logits[0, :-1].float()
            losses = functional.cross_entropy(logits, window[1:], reduction="none")
            bits += losses[scored - start - 1 :].sum().item() / math.log(2)
            scored = start + len(window)
    return bits / sum(len(source.text.encode()) for source in sources)


def lines_in_functions(sources: list[Source]) -> list[tuple[str, str, str]]:
    """(prefix, line, suffix) for each line of a statement inside a function: no docstrings, no comments.
    The prefix ends with the line's indentation, the suffix begins with its newline."""
    found = []
    for source in sources:
        try:
            tree = ast.parse(source.text)
        except (SyntaxError, ValueError):
            continue
        numbers: set[int] = set()
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            body = function.body[1:] if ast.get_docstring(function) is not None else function.body
            for statement in body:
                numbers.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
        lines = source.text.splitlines(keepends=True)
        if len(lines) != source.text.count("\n") + (not source.text.endswith("\n")):
            continue  # form feeds and the like: ast counts lines otherwise
        offset = 0
        for number, line in enumerate(lines, 1):
            code = line.strip()
            if number in numbers and code and not code.startswith("#"):
                indent = len(line) - len(line.lstrip())
                begin, end = offset + indent, offset + len(line.rstrip("\n"))
                found.append((source.text[:begin], source.text[begin:end], source.text[end:]))
            offset += len(line)
    return found


@torch.inference_mode()
def share_of_lines_filled(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, sources: list[Source], count: int, seed: int
) -> float:
    """Greedy; a line counts when the text up to the first newline is the line, trailing blanks aside."""
    cases = random.Random(seed).sample(lines_in_functions(sources), count)
    marker = tokenizer.convert_tokens_to_ids
    stops = [marker("<|endoftext|>"), *(i for t, i in tokenizer.get_vocab().items() if "Ċ" in t)]
    exact = 0
    for prefix, line, suffix in cases:
        before = tokenizer.encode(prefix[-8 * PREFIX_TOKENS :], add_special_tokens=False)[-PREFIX_TOKENS:]
        after = tokenizer.encode(suffix[: 8 * SUFFIX_TOKENS], add_special_tokens=False)[:SUFFIX_TOKENS]
        ids = [marker("<|fim_suffix|>"), *after, marker("<|fim_prefix|>"), *before, marker("<|fim_middle|>")]
        prompt = torch.tensor([ids])
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=LINE_TOKENS,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=stops[0],
        )
        text = tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)
        exact += text.split("\n")[0].rstrip() == line.rstrip()
    return exact / count
