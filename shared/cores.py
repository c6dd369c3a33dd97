"""How many cores this process may use: as many as it is allowed on, and as its quota pays for.

``os.cpu_count()`` says what the machine has. A container may run on some of its cores only (the
affinity), and for a part of the time only (the CPU quota of a control group, which Docker's
``--cpus`` and a Kubernetes limit set). Threads beyond that wait for each other: half a core of two
made 110 forwards a second with two threads and 200 with one.

Knows Linux; elsewhere, and where nothing is said, it is the machine's cores.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SELF: Final = Path("/proc/self")


def usable_cores() -> int:
    """Whole cores, one at least: a half more would pay for a thread that waits half of its time."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(min(allowed or 1, quota_cores(_SELF))))


def quota_cores(proc: Path) -> float:
    """The smallest CPU quota of the control groups that a process is in, in cores; else infinity.

    ``proc`` is its folder: ``/proc/self``.
    """
    return min(_quotas(proc), default=float("inf"))


def _quotas(proc: Path) -> Iterator[float]:
    """Of every group on the way up, in both versions of control groups: the smallest one binds."""
    members = dict(_memberships(_read(proc / "cgroup")))
    for kind, root, mount in _mounts(_read(proc / "mountinfo")):
        if kind not in members:
            continue
        inside = Path(members[kind])
        # In a container that does not see its own path, what is mounted is its group.
        below = inside.relative_to(root) if inside.is_relative_to(root) else Path()
        for group in (mount / below, *(mount / below).parents):
            if not group.is_relative_to(mount):
                break
            yield from _quota(group)


def _memberships(text: str) -> Iterator[tuple[str, str]]:
    """``4:cpu,cpuacct:/path`` of version 1, ``0::/path`` of version 2: kind, and path."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield "cgroup2", path
        elif "cpu" in controllers.split(","):
            yield "cgroup", path


def _mounts(text: str) -> Iterator[tuple[str, Path, Path]]:
    """Kind, root and place of each mount that can hold CPU quotas; see proc(5)."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(",")):
            yield kind, Path(_unescaped(fields[3])), Path(_unescaped(fields[4]))


def _quota(group: Path) -> Iterator[float]:
    """``cpu.max`` of version 2, ``max`` or microseconds in a period; of version 1 two files."""
    stated = _read(group / "cpu.max").split()
    if not stated:
        stated = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(stated) == len(("quota", "period")) and all(word.isdecimal() for word in stated):
        quota_us, period_us = map(int, stated)
        if quota_us and period_us:
            yield quota_us / period_us


def _unescaped(field: str) -> str:
    return field.replace(r"\040", " ")


def _read(file: Path) -> str:
    """Nothing, where it cannot be read: not every group has every file."""
    try:
        return file.read_text()
    except OSError:
        return ""
