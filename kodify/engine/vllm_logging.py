"""vLLM's log in the house's form: named in `vllm_logging.json`, which vLLM reads in each of its processes."""

from __future__ import annotations

import logging

from vllm import envs

from kodify import logs
from kodify.errors import KodifyError
from kodify.settings import Settings


def handler() -> logging.Handler:
    """Handles nothing: vLLM's records go on to the root's handler, which a process of the engine's own has not yet."""
    if not logging.getLogger().handlers:
        try:
            logs.configure(Settings.load())
        except KodifyError:  # the server has told of it
            logging.basicConfig()
    logging.getLogger("vllm").setLevel(envs.VLLM_LOGGING_LEVEL)
    return logging.NullHandler()
