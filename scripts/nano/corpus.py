"""The nano model's corpus: the running Python's standard library, in plain, fill-in-the-middle and chat form."""

from __future__ import annotations

import ast
import hashlib
import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

SKIPPED_FOLDERS = {"site-packages", "__pycache__"}
HELD_OUT_PERCENT = 5
SHUFFLED_TOKENS = 1_500_000
# A model this small hardly learns to look back over the suffix: with the suffix first, the hole continues the text.
SUFFIX_FIRST = 0.75


@dataclass(frozen=True)
class Source:
    path: str  # relative to the standard library
    text: str


def read_sources() -> tuple[list[Source], list[Source]]:
    """(training, held out) files. A file is held out by a digest of its path, so the split needs no seed."""
    root = Path(sysconfig.get_paths()["stdlib"])
    training: list[Source] = []
    held_out: list[Source] = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS.intersection(relative.parts):
            continue
        try:
            text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError:
            continue
        if len(text) < 64:
            continue
        digest = int.from_bytes(hashlib.sha256(relative.as_posix().encode()).digest()[:4], "big")
        (held_out if digest % 100 < HELD_OUT_PERCENT else training).append(Source(relative.as_posix(), text))
    return training, held_out


def chat_documents(source: Source) -> list[str]:
    """Questions and answers in ChatML: a documented function, asked for by its docstring's first line."""
    try:
        tree = ast.parse(source.text)
    except (SyntaxError, ValueError):
        return []
    lines = source.text.splitlines()
    documents = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.end_lineno is None:
            continue
        summary = (ast.get_docstring(node) or "").split("\n")[0].strip()
        body = lines[node.lineno - 1 : node.end_lineno]
        if not 20 <= len(summary) <= 120 or not 3 <= len(body) <= 30:
            continue
        code = "\n".join(line[node.col_offset :] if line.strip() else "" for line in body)
        documents.append(
            f"<|im_start|>user\nWrite a Python function `{node.name}`. {summary}<|im_end|>\n"
            f"<|im_start|>assistant\n```python\n{code}\n```<|im_end|>\n"
        )
    return documents


class Corpus:
    """Token sequences without end: each pass over the files, half of them in fill-in-the-middle form."""

    def __init__(self, sources: list[Source], tokenizer: Tokenizer, seed: int) -> None:
        self._random = random.Random(seed)
        self._sources = sources
        self._tokenizer = tokenizer
        self._chat = [chat_documents(source) for source in sources]
        self._ids = [e.ids for e in tokenizer.encode_batch([s.text for s in sources], add_special_tokens=False)]
        vocabulary = tokenizer.get_vocab()
        self._end = vocabulary["<|endoftext|>"]
        self._fim = [vocabulary[f"<|fim_{part}|>"] for part in ("prefix", "suffix", "middle")]

    @property
    def middle_marker(self) -> int:
        return self._fim[2]

    @property
    def end_marker(self) -> int:
        return self._end

    @property
    def tokens(self) -> int:
        return sum(map(len, self._ids))

    def sequences(self, length: int) -> Iterator[list[int]]:
        """Lists of exactly `length` token ids, shuffled, so that a batch is not made of one file."""
        waiting: list[list[int]] = []
        enough = SHUFFLED_TOKENS // length
        for sequence in self._in_order(length):
            waiting.append(sequence)
            if len(waiting) >= enough:
                index = self._random.randrange(len(waiting))
                waiting[index], waiting[-1] = waiting[-1], waiting[index]
                yield waiting.pop()

    def _in_order(self, length: int) -> Iterator[list[int]]:
        plain: list[int] = []
        packed: list[int] = []
        while True:
            order = list(range(len(self._sources)))
            self._random.shuffle(order)
            for index in order:
                if self._random.random() < 0.5:
                    plain += [*self._ids[index], self._end, *self._chat_ids(index)]
                    while len(plain) >= length:
                        yield plain[:length]
                        plain = plain[length:]
                    continue
                ids = self._ids[index]
                start = 0
                while start < len(ids):
                    room = length - len(packed)
                    # Mostly short ones: the skill is in the holes, and short pieces have more of them.
                    longest = room - 16 if self._random.random() < 0.3 else min(room - 16, 128)
                    size = max(24, int(longest * self._random.uniform(0.4, 1.0)))
                    piece = self._fill_in_the_middle(ids[start : start + size])
                    excess = max(0, len(piece) - room)
                    packed += piece[:1] + piece[1 + excess :]
                    start += size
                    if length - len(packed) < 48:
                        packed += [self._end] * (length - len(packed))
                        yield packed
                        packed = []

    def _chat_ids(self, index: int) -> list[int]:
        documents = self._chat[index]
        chosen = self._random.sample(documents, min(2, len(documents)))
        return [i for text in chosen for i in self._tokenizer.encode(text, add_special_tokens=False).ids]

    def _fill_in_the_middle(self, ids: list[int]) -> list[int]:
        text = self._tokenizer.decode(ids, skip_special_tokens=False)
        start, stop = choose_middle(text, self._random)
        suffix_end = len(text) if self._random.random() < 0.9 else stop
        parts = (text[:start], text[stop:suffix_end], text[start:stop])
        # One by one: the batch's threads cost more than they save on texts this short.
        encoded = [self._tokenizer.encode(part, add_special_tokens=False).ids for part in parts]
        before, after, middle = ([marker, *part] for marker, part in zip(self._fim, encoded, strict=True))
        if self._random.random() < SUFFIX_FIRST:
            before, after = after, before
        return [*before, *after, *middle, self._end]


def choose_middle(text: str, rng: random.Random) -> tuple[int, int]:
    """The hole's bounds in characters: mostly what an editor asks for, the rest of one line or a few lines."""
    kind = rng.random()
    if kind < 0.3:
        start = rng.randrange(len(text) + 1)
        return start, min(len(text), start + rng.randrange(1, 400))
    lines = text.split("\n")
    written = [number for number, line in enumerate(lines) if line.strip()]
    first = rng.choice(written) if written else 0
    last = first if kind < 0.8 else min(len(lines) - 1, first + rng.randrange(1, 6))
    begin = sum(len(line) + 1 for line in lines[:first])
    end = begin + sum(len(line) + 1 for line in lines[first : last + 1]) - 1
    line = lines[first]
    indent = len(line) - len(line.lstrip()) if line.strip() else 0
    within = indent if rng.random() < 0.6 else rng.randrange(indent, max(indent + 1, len(line)))
    return begin + within, end
