"""A real gateway process, for tests: started on a socket of the test's, ended with the block."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

_START_LIMIT_S: Final = 20.0
_END_LIMIT_S: Final = 15.0


@dataclass(frozen=True)
class GatewayProcess:
    """One gateway and where it listens."""

    process: subprocess.Popen[bytes]
    address: str
    redis_url: str
    log_path: Path

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def connect(self) -> socket.socket:
        """A plain connection, for what no HTTP client would send."""
        host, _, port = self.address.partition(":")
        return socket.create_connection((host, int(port)), timeout=10)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def exit_status(self) -> int:
        return self.process.wait(timeout=_END_LIMIT_S)


def everything_from(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


@contextmanager
def running_gateway(
    redis_url: str,
    *,
    inherit_socket: bool = True,
    log_level: str = "debug",
    shared: Mapping[str, object] | None = None,
    **settings: object,
) -> Iterator[GatewayProcess]:
    """A gateway of the stand-in model; its ``settings``, and ``shared`` ones, by their tails."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        tempfile.TemporaryDirectory() as folder,
    ):
        host, port = listener.getsockname()
        own = {f"PENSTOCK_GATEWAY_{name}".upper(): str(value) for name, value in settings.items()}
        own |= {f"PENSTOCK_{name}".upper(): str(value) for name, value in (shared or {}).items()}
        environ = {
            **{name: v for name, v in os.environ.items() if not name.startswith("PENSTOCK_")},
            "PENSTOCK_REDIS_URL": redis_url,
            "PENSTOCK_MODELS": "tests/models",
            "PENSTOCK_MODEL": "stand-in",
            "PENSTOCK_GATEWAY_PORT": str(port),
            "PENSTOCK_LOG_LEVEL": log_level,
            **own,
        }
        if inherit_socket:
            environ["PENSTOCK_GATEWAY_FD"] = str(listener.fileno())
        else:
            listener.close()
        log_path = Path(folder) / "log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.gateway"],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(listener.fileno(),) if inherit_socket else (),
            )
        gateway = GatewayProcess(process, f"{host}:{port}", redis_url, log_path)
        try:
            _wait_until_alive(gateway)
            yield gateway
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """In its own way where that is quick, so that what it covered is counted."""
    try:
        process.terminate()
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_alive(gateway: GatewayProcess) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while not _answers(gateway.url):
        if gateway.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the gateway did not start:\n{gateway.log}")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    """Ready, or alive and without Redis."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=2)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 or "was not asked yet" not in answer.text
