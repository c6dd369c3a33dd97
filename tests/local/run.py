"""``python -m services.local`` as a person sees it, on the stand-in unless it is told otherwise."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEST_MODELS = Path(__file__).parent.parent / "models"


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
