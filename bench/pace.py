"""Owns the pace of the engine double: a small mapped file that the benchmark writes and every engine reads.

The file lets one set of running servers change its step time between loads, with no restart and no message.
"""

import mmap
import struct
from pathlib import Path

PACE_FILE_VARIABLE = "BENCH_PACE_FILE"
_LAYOUT = struct.Struct("<dd")


class Pace:
    """Two numbers shared between processes: seconds per engine step and seconds per uncached prompt token."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_LAYOUT.pack(0.0, 0.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)

    def write(self, step_ms: float, prefill_us_per_token: float) -> None:
        self._memory[:] = _LAYOUT.pack(step_ms / 1e3, prefill_us_per_token / 1e6)

    def read(self) -> tuple[float, float]:
        """Return (step_s, prefill_s_per_token)."""
        step_s, prefill_s_per_token = _LAYOUT.unpack(self._memory)
        return step_s, prefill_s_per_token
