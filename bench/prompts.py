"""Owns the text of the load: distinct slices of the Python standard library, so that no prefix cache decides."""

import sysconfig
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from bench.plan import Load

CORPUS_CHARS = 1_500_000
MIN_FILE_BYTES = 20_000
SLICE_STRIDE = 7919
FIM_MARKERS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
# What an assistant in an editor sends before each question; engines keep its cache, as they do for real clients.
SYSTEM_MESSAGE = {
    "role": "system",
    "content": "You are a coding assistant in an editor. Answer with code first and at most two sentences after it. "
    "Keep the style of the file that you are shown: its names, its indentation, its quotes, its error handling. "
    "Use the standard library where it does. Never invent functions of other modules; say what you are not sure of. "
    "Answer in the language of the question. When you change code, show only the lines that change and enough around "
    "them to find the place.",
}


class PromptSource:
    """Cuts prompts of a wanted number of tokens, each one different from its first line on."""

    def __init__(self, model: Path, model_name: str) -> None:
        files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
        long_files = [file for file in files if file.stat().st_size > MIN_FILE_BYTES]
        self._corpus = "".join(file.read_text(encoding="utf-8") for file in long_files)[:CORPUS_CHARS]
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._token_starts = [start for start, _ in self._tokenizer.encode(self._corpus).offsets]
        self._model_name = model_name
        self._serial = 0

    def make_bodies(self, load: Load, count: int) -> list[dict[str, Any]]:
        return [self._make_body(load, position) for position in range(count)]

    def tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        """The same completion with its prompt as token ids: a floor has no text to read."""
        return body | {"prompt": self._tokenizer.encode(body["prompt"], add_special_tokens=False).ids}

    def _make_body(self, load: Load, position: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model_name,
            "max_tokens": load.max_tokens(position),
            "ignore_eos": True,
            "temperature": 0,
            "stream": load.streamed,
        }
        if load.fill_in_the_middle:
            prefix, suffix = self._cut(load.prompt_tokens * 2 // 3), self._cut(load.prompt_tokens // 3)
            before, between, after = FIM_MARKERS
            return body | {"prompt": f"{before}{prefix}{between}{suffix}{after}"}
        question = {"role": "user", "content": self._cut(load.prompt_tokens)}
        return body | {"messages": [SYSTEM_MESSAGE, question]}

    def _cut(self, tokens: int) -> str:
        self._serial += 1
        mark = f"# request {self._serial * SLICE_STRIDE:08x}\n"
        tokens -= len(self._tokenizer.encode(mark).ids)
        first = self._serial * SLICE_STRIDE % (len(self._token_starts) - tokens)
        return mark + self._corpus[self._token_starts[first] : self._token_starts[first + tokens]]


def leave_hole(body: dict[str, Any]) -> dict[str, Any]:
    """The same completion with prefix and suffix apart, as an editor sends it to a server that puts them together."""
    before, between, after = FIM_MARKERS
    prefix, _, suffix = body["prompt"].removeprefix(before).removesuffix(after).partition(between)
    return body | {"prompt": prefix, "suffix": suffix}
