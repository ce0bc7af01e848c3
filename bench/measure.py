"""Owns what the kernel says of a process: CPU time per thread, resident memory, children, and where it may run."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

CpuSnapshot = dict[tuple[int, int], int]


@dataclass(frozen=True)
class Memory:
    """MiB; rss counts shared pages in every process, pss shares them out."""

    rss_mib: float
    pss_mib: float


def read_cpu(pids: Iterable[int]) -> CpuSnapshot:
    """Return the nanoseconds on a CPU so far of each thread, by (pid, thread id), from schedstat."""
    snapshot: CpuSnapshot = {}
    for pid in pids:
        for thread in (PROC / str(pid) / "task").iterdir():
            try:
                snapshot[pid, int(thread.name)] = int((thread / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue  # the thread ended between listing and reading
    return snapshot


def cpu_between_us(before: CpuSnapshot, after: CpuSnapshot) -> float:
    return sum(spent - before.get(thread, 0) for thread, spent in after.items()) / 1e3


def read_machine_busy_s() -> float:
    """Return the seconds that all cores together were not idle so far, those taken by other guests included."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, _read_cpu_line()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _read_cpu_line() -> list[str]:
    return (PROC / "stat").read_text().split("\n", 1)[0].split()


def read_memory(pids: Iterable[int]) -> Memory:
    rss_kib = pss_kib = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
        rss_kib += sizes["Rss"]
        pss_kib += sizes["Pss"]
    return Memory(rss_mib=rss_kib / 1024, pss_mib=pss_kib / 1024)


def find_descendants(pid: int) -> list[int]:
    """Return the children of a process and theirs, parents first."""
    found: list[int] = []
    try:
        threads = list((PROC / str(pid) / "task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    for child in children:
        found.append(child)
        found.extend(find_descendants(child))
    return found


def pin(pid: int, cores: Iterable[int]) -> None:
    """Keep every thread of a process, those to come included, on the given cores."""
    for thread in (PROC / str(pid) / "task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except ProcessLookupError:
            continue
