"""A private, real redis-server on a unix socket in a folder of its own, for tests alone.

Knows how to start, kill and restart one; knows nothing of keys. It is never shared with anything
outside the test run, and dies with the process that started it.
"""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

START_LIMIT_S: Final = 60.0  # with a large append-only file to read, on a busy machine

WHEEL: Final = "wheel"
"""The server that comes with the environment (6.2), else the first one on the PATH."""
SYSTEM: Final = "system"
"""The server on the PATH outside the environment (7 on most machines), if there is one."""


def find_server(which: str) -> str | None:
    """The binary of a server, None where this machine has none."""
    own = Path(sys.executable).parent
    outside = [
        found
        for folder in ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin")
        if (found := shutil.which("redis-server", path=folder))
    ]
    if which == SYSTEM:
        return outside[0] if outside else None
    return shutil.which("redis-server", path=str(own)) or shutil.which("redis-server")


class RedisServer:
    """One redis-server and its folder; ``kill`` and ``start`` again keep the folder."""

    def __init__(self, binary: str, options: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-redis-"))
        self.socket = self.folder / "socket"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None
        defaults = {"port": "0", "save": "", "appendonly": "no", "loglevel": "notice"}
        chosen = defaults | dict(options or {})
        fixed = {"dir": str(self.folder), "unixsocket": str(self.socket), "daemonize": "no"}
        self._command = [binary]
        for name, value in (chosen | fixed).items():
            self._command += [f"--{name}", value]

    def start(self) -> None:
        """Start the server and wait until it answers, its data loaded."""
        # A test run that ends by os._exit (a timeout) must leave no server behind.
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*guard, *self._command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); safe to repeat."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the server in its own way (SIGTERM)."""
        self._end(signal.SIGTERM)

    def remove(self) -> None:
        """Kill the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        try:
            process.send_signal(signal.SIGCONT)  # a frozen one would not hear SIGTERM
            process.send_signal(how)
            process.wait(timeout=START_LIMIT_S)
        finally:
            process.kill()
            process.wait()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not self._answers():
            ended = self.process is None or self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                log = (self.folder / "log").read_text(errors="replace")
                raise RuntimeError(f"redis-server did not start:\n{log}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1.0)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def running_redis(
    which: str = WHEEL, options: Mapping[str, str] | None = None
) -> Iterator[RedisServer]:
    """A further server with options of its own, ``{"appendonly": "yes"}``; gone after the block."""
    binary = find_server(which)
    if binary is None:
        raise RuntimeError(f"this machine has no {which} redis-server")
    server = RedisServer(binary, options)
    try:
        server.start()
        yield server
    finally:
        server.remove()
