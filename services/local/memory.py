"""How much memory this process may use: the machine's, or what its control groups leave of it.

Knows the files of Linux; elsewhere it says what the machine has.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")


def usable_memory_bytes(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """The least of the machine's memory and the limit of every control group above this process."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(groups, own)])


def _limits(groups: Path, own: Path) -> Iterator[int]:
    for group, name in _folders(groups, own):
        above = [folder for folder in group.parents if folder.is_relative_to(groups)]
        for folder in (group, *above):
            if (limit := _number_in(folder / name)) is not None:
                yield limit


def _folders(groups: Path, own: Path) -> Iterator[tuple[Path, str]]:
    """This process's group in each hierarchy that bounds memory, and the file with its limit."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield groups / path.lstrip("/"), "memory.max"
        elif "memory" in controllers.split(","):
            yield groups / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
            yield groups / "memory", "memory.limit_in_bytes"  # a container sees its own there


def _number_in(file: Path) -> int | None:
    """None where there is no limit: ``max``, or no such file."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
