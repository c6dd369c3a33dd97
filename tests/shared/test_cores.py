"""The cores that a process really has: its affinity, and the quotas of a made-up group tree."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.cores import quota_cores

NONE = float("inf")


def proc(folder: Path, cgroup: str, mountinfo: str) -> Path:
    """A process's folder; ``{m}`` is where groups are mounted."""
    made = folder / "proc"
    made.mkdir(parents=True)
    (made / "cgroup").write_text(cgroup)
    (made / "mountinfo").write_text(mountinfo.format(m=folder / "groups"))
    return made


def group(folder: Path, path: str, **files: str) -> None:
    place = folder / "groups" / path
    place.mkdir(parents=True, exist_ok=True)
    for name, said in files.items():
        (place / name.replace("__", ".")).write_text(said + "\n")


V2 = "24 18 0:22 / {m} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "25 18 0:23 / {m} rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "26 18 0:24 / {m}-memory rw - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("said", "cores"),
    [
        ("max 100000", NONE),
        ("50000 100000", 0.5),
        ("250000 100000", 2.5),
        ("nonsense", NONE),
        ("", NONE),
    ],
)
def test_version_2(tmp_path: Path, said: str, cores: float) -> None:
    group(tmp_path, "pod/box", cpu__max=said)

    assert quota_cores(proc(tmp_path, "0::/pod/box\n", V2)) == cores


def test_a_quota_further_up_binds_where_it_is_smaller(tmp_path: Path) -> None:
    group(tmp_path, "pod", cpu__max="100000 100000")
    group(tmp_path, "pod/box", cpu__max="400000 100000")

    assert quota_cores(proc(tmp_path, "0::/pod/box\n", V2)) == 1


@pytest.mark.parametrize(("quota", "cores"), [("-1", NONE), ("150000", 1.5)])
def test_version_1(tmp_path: Path, quota: str, cores: float) -> None:
    group(tmp_path, "box", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    member = "9:memory:/elsewhere\n4:cpu,cpuacct:/box\n0::/\n"

    assert quota_cores(proc(tmp_path, member, V1_MEMORY + V1)) == cores


def test_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    """The path is the machine's, what is mounted is the group itself."""
    group(tmp_path, ".", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    mounted = V1.replace("0:23 /", "0:23 /docker/4711")

    assert quota_cores(proc(tmp_path, "4:cpu,cpuacct:/docker/4711\n", mounted)) == 0.5


def test_where_nothing_is_said_there_is_no_quota(tmp_path: Path) -> None:
    assert quota_cores(tmp_path / "nothing") == NONE
    assert quota_cores(proc(tmp_path, "", "")) == NONE


def test_a_process_that_is_allowed_on_one_core_has_one() -> None:
    one = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, [{one}]); "
        "from shared.cores import usable_cores; print(usable_cores())"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert answer.stdout == b"1\n"
