"""What a CPU engine's arithmetic keeps for itself."""

from __future__ import annotations

import os
import subprocess
import sys

from kodify.engine.vllm_arguments import prepare_environment
from kodify.settings import Settings

MOST_MIB = 300
# Prompts of 150 lengths through a small model. Without a bound it was 500 MiB, and more with more lengths.
PROGRAM = """
import os
import torch
from vllm import _custom_ops as ops

torch.set_num_threads(1)
shapes = [(960, 320), (320, 320), (2048, 320), (320, 1024)] * 5
layers = [(ops.create_onednn_mm(torch.randn(n, k, dtype=torch.bfloat16).t(), 32), k) for n, k in shapes]

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

def work(tokens):
    for layer, k in layers:
        ops.onednn_mm(layer, torch.zeros(tokens, k, dtype=torch.bfloat16), None)

work(512)
before = resident_mib()
for tokens in range(100, 550, 3):
    work(tokens)
print(resident_mib() - before)
"""


def test_prompts_of_many_lengths_do_not_fill_the_memory(settings: Settings) -> None:
    prepare_environment(settings)
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < MOST_MIB
