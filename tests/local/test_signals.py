"""The supervisor as a process at a terminal: Ctrl-C, SIGTERM, and kill -9."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.at_a_terminal import at_a_terminal
from tests.local.children import happened


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of three children, ready, leader of its process group as under a shell."""
    process = subprocess.Popen(
        at_a_terminal([sys.executable, "-m", "tests.local.children", str(tmp_path)]),
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()


def pids(folder: Path) -> list[int]:
    return [int(pid) for pid in re.findall(r"started:(\d+)", happened(folder / "events"))]


def gone(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    return True


def test_ctrl_c_reaches_the_parts_through_the_supervisor_alone(
    supervisor: subprocess.Popen[str], tmp_path: Path
) -> None:
    os.killpg(supervisor.pid, signal.SIGINT)

    assert supervisor.wait(10) == 0
    ends = [line for line in happened(tmp_path / "events").splitlines() if "stopped" in line]
    assert sorted(ends[:2]) == ["left:stopped", "right:stopped"]
    assert ends[2:] == ["first:stopped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_closed_terminal_stop_it_too(
    supervisor: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    supervisor.send_signal(number)

    assert supervisor.wait(10) == 0
    assert happened(tmp_path / "events").count("stopped") == 3


def test_when_the_supervisor_is_killed_its_parts_stop(
    supervisor: subprocess.Popen[str], tmp_path: Path
) -> None:
    supervisor.kill()

    supervisor.wait(10)
    deadline = time.monotonic() + 5
    while not all(gone(pid) for pid in pids(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(gone(pid) for pid in pids(tmp_path))
    assert happened(tmp_path / "events").count("stopped") == 3
