"""``python -m services.local`` with the real services, on the stand-in model."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

TEST_MODELS = Path(__file__).parent.parent / "models"
TEXT = {"inputs": "a b c"}


class Run:
    """A run as a person sees it: what it prints, its address, its end."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.log = folder / "log"
        environ = {
            **os.environ,
            "PENSTOCK_LOCAL_DATA": str(folder / "data"),
            "PENSTOCK_MODELS": str(TEST_MODELS),
            "PENSTOCK_MODEL": "stand-in",
            "PENSTOCK_GATEWAY_PORT": "0",
            **settings,
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.local"],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,
            )

    def greeting(self) -> str:
        """Everything up to the last line of the greeting; fails when the run ends before."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                return "".join(lines)
        raise AssertionError(self.log.read_text())

    def interrupt(self) -> int:
        """Ctrl-C, as the terminal sends it; returns the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)

    def wait_for(self, pattern: str) -> None:
        """Until a log line matches; the test's own timeout bounds it."""
        while not re.search(pattern, self.log.read_text()):
            time.sleep(0.05)

    def pid_of(self, part: str) -> int:
        """The last process that was started as ``part``."""
        return int(re.findall(rf"part started\s+part={part} pid=(\d+)", self.log.read_text())[-1])


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Run]:
    run = Run(folder, **settings)
    try:
        yield run
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGTERM)
        run.process.wait(60)
        assert run.process.stdout is not None
        run.process.stdout.close()


def address_in(greeting: str) -> str:
    found = re.search(r"address +(\S+)", greeting)
    assert found is not None
    return found[1]


def ask(address: str, path: str, body: object = None) -> dict[str, object]:
    request = urllib.request.Request(address + path)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, object] = json.load(response)
        return answer


def test_the_greeting_is_true_and_ctrl_c_ends_well(tmp_path: Path) -> None:
    with running(tmp_path, PENSTOCK_LOCAL_GATEWAYS="2", PENSTOCK_LOCAL_PREDICTORS="2") as run:
        greeting = run.greeting()

        curl = next(line for line in greeting.splitlines() if "curl" in line)
        body = json.loads(shlex.split(curl)[-1])
        answer = ask(address_in(greeting), "/predict", body)
        assert answer["outputs"] == [{"echo": body["inputs"]}]
        assert run.interrupt() == 0


def test_a_result_is_still_there_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        job = ask(address_in(run.greeting()), "/jobs", TEXT)
        assert run.interrupt() == 0

    with running(tmp_path) as run:
        record = ask(address_in(run.greeting()), f"/jobs/{job['id']}?wait=30")
        assert record["state"] == "succeeded"
        assert run.interrupt() == 0


@pytest.mark.parametrize("part", ["gateway-1", "predictor-1", "redis"])
def test_a_killed_part_comes_back_and_predictions_go_on(tmp_path: Path, part: str) -> None:
    with running(tmp_path, PENSTOCK_LEASE_MS="900", PENSTOCK_RENEW_EVERY_MS="300") as run:
        address = address_in(run.greeting())
        ask(address, "/predict", TEXT)

        os.kill(run.pid_of(part), signal.SIGKILL)

        run.wait_for(f"part died, it is started again .*part={part} ")
        assert answered_in_the_end(address) == [{"echo": TEXT["inputs"]}]
        assert run.interrupt() == 0


def answered_in_the_end(address: str) -> object:
    """The outputs of a request that is repeated while it is refused, as a client would."""
    while True:
        with suppress(OSError):
            answer = ask(address, "/predict", TEXT)
            if "outputs" in answer:
                return answer["outputs"]


def test_a_port_in_use_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(tmp_path, PENSTOCK_GATEWAY_PORT=str(port)) as run:
            assert run.process.wait(30) == 2

    said = run.log.read_text()
    assert f"port {port}" in said
    assert "make run PORT=" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("PENSTOCK_MODEL", "no-such-model", "stand-in"),
        ("PENSTOCK_LOCAL_PREDICTORS", "many", "write a whole number from 1 to 64"),
        ("PENSTOCK_PREDICTOR_DEVICE", "gpu", "write auto, cpu, cuda or cuda:N"),
        ("PENSTOCK_PREDICTOR_TOKEN_BUDGET", "100", "raise the one to 512"),
        ("PENSTOCK_PREDICTORS", "3", "PENSTOCK_LOCAL_PREDICTORS"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_started(
    tmp_path: Path, name: str, value: str, remedy: str
) -> None:
    with running(tmp_path, **{name: value}) as run:
        assert run.process.wait(30) == 2

    assert remedy in run.log.read_text()
    assert not (tmp_path / "data").exists()
