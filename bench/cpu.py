"""CPU seconds of processes, as the kernel counts them: what stands where wall time lies.

Reads ``/proc``; Linux only. The kernel adds up nanoseconds and shows hundredths of a second,
so a reading over seconds is good to a percent.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PARENT: Final = 1  # fields of stat(5) after the name, which may contain anything
_UTIME: Final = 11
_CSTIME: Final = 14


def read(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far by name: of each process, of its children that ended and that live."""
    own_s: dict[int, float] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for pid, fields in _stats():
        own_s[pid] = sum(map(int, fields[_UTIME : _CSTIME + 1])) / _TICKS_PER_S
        children[int(fields[_PARENT])].append(pid)

    def with_children(pid: int) -> float:
        return own_s.get(pid, 0.0) + sum(map(with_children, children[pid]))

    return {name: with_children(pid) for name, pid in pids.items()}


def machine_s() -> float:
    """CPU seconds that the whole machine was busy: more than ours means that it was not alone."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (
        Path("/proc/stat").read_text().split()[1:]
    )
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS_PER_S


def wanted(pids: Mapping[str, int]) -> dict[str, float]:
    """Seconds so far by name in which its main thread ran, or was ready and had no core.

    The loop of every part is in its main thread. Where parts share too few cores, the one that
    holds the others up does not get a core of its own: it is the one that always wants one.
    """
    return {name: _wanted_s(pid) for name, pid in pids.items()}


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Seconds between two readings."""
    return {name: round(after[name] - before[name], 3) for name in before}


def _wanted_s(pid: int) -> float:
    try:
        ran_ns, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except FileNotFoundError:
        return 0.0  # it ended, or the kernel does not tell
    return (int(ran_ns) + int(waited_ns)) / 1e9


def _stats() -> list[tuple[int, list[str]]]:
    stats = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            stats.append((int(folder.name), stat.rpartition(")")[2].split()))
    return stats
