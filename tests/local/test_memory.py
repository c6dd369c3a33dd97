"""The memory that may be used, on folders that look like a kernel's control groups."""

import os
from pathlib import Path

import pytest

from services.local.memory import usable_memory_bytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MIB = 1 << 20


def said(folder: Path, name: str, limit: int | str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{limit}\n")


def belongs_to(tmp_path: Path, *lines: str) -> Path:
    own = tmp_path / "own"
    own.write_text("".join(f"{line}\n" for line in lines))
    return own


def test_the_least_limit_of_all_groups_above_counts(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    said(groups / "pods" / "one", "memory.max", "max")
    said(groups / "pods", "memory.max", 300 * MIB)
    said(groups, "memory.max", 500 * MIB)
    own = belongs_to(tmp_path, "0::/pods/one")

    assert usable_memory_bytes(groups, own) == 300 * MIB


@pytest.mark.parametrize("path", ["/", "/docker/not-seen-from-in-here"])
def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path, path: str) -> None:
    groups = tmp_path / "groups"
    said(groups, "memory.max", 200 * MIB)

    assert usable_memory_bytes(groups, belongs_to(tmp_path, f"0::{path}")) == 200 * MIB


def test_the_older_hierarchies_count_too(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    said(groups / "memory", "memory.limit_in_bytes", 100 * MIB)
    own = belongs_to(tmp_path, "5:cpu,cpuacct:/docker/1", "4:memory:/docker/1", "0::/")

    assert usable_memory_bytes(groups, own) == 100 * MIB


def test_without_limits_it_is_the_machines(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    said(groups / "pods", "memory.max", "max")

    assert usable_memory_bytes(groups, belongs_to(tmp_path, "0::/pods")) == MACHINE
    assert usable_memory_bytes(groups, tmp_path / "absent") == MACHINE


def test_here_it_is_no_more_than_the_machines() -> None:
    assert 0 < usable_memory_bytes() <= MACHINE
