"""An executor without a model: vLLM's engine, scheduler and detokenizer around answers that a file tells.

Chosen by `--distributed-executor-backend tests.integration.server.scripted_executor.ScriptedExecutor`. The file that
KODIFY_TEST_SCRIPT names has, for each model's name, a list of pairs: all that a prompt has to have in it, and what is
answered; the last pair that fits counts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tokenizers import Tokenizer

from bench.double import EngineDouble, Sequence
from tests.integration.server.stories import SCRIPT_VARIABLE

END = "<|im_end|>"


class ScriptedExecutor(EngineDouble):
    """The benchmark's, with stories of its own and no pace."""

    def _init_executor(self) -> None:
        folder = Path(self.model_config.tokenizer or self.model_config.model)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        scripts = json.loads(Path(os.environ[SCRIPT_VARIABLE]).read_text(encoding="utf-8"))
        self._pairs: list[tuple[list[str], str]] = scripts[self.model_config.served_model_name]
        self._end: int = self._tokenizer.token_to_id(END) or 0
        self._running: dict[str, Sequence] = {}

    def _choose_story(self, prompt: list[int]) -> tuple[list[int], int]:
        text = self._tokenizer.decode(prompt, skip_special_tokens=False)
        said = [answer for wanted, answer in self._pairs if all(part in text for part in wanted)][-1]
        return [*self._tokenizer.encode(said, add_special_tokens=False).ids, self._end], 0

    def _wait_for_step(self, prefill_tokens: int) -> None:
        pass
