"""The service as ``make run`` starts it, as real processes, for the length of a measurement.

The same embedded Redis with the same promises (append-only, fsynced every second, a unix
socket), gateways, predictors with a share of the cores each. Each part's output is in a log
file; whatever happens, none of them outlives the block.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from bench.children import tethered
from bench.client import HOST
from services.local.embedded_redis import embedded_redis
from services.local.keeper import Probe
from services.local.parts import address_of, claim, free_ports
from services.local.probes import readyz
from shared.cores import usable_cores

COUNTED: Final = {
    "penstock_rows_total": "rows",
    "penstock_executions_total": "batches",
    "penstock_batch_tokens_sum": "padded_tokens",
    "penstock_inference_duration_seconds_sum": "forward_s",
}
"""Counters of a predictor, and what they are called here."""

_START_LIMIT_S: Final = 120.0
_STOP_LIMIT_S: Final = 5.0
_POLL_S: Final = 0.05
_SAMPLE: Final = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)", re.MULTILINE)


class DidNotStart(Exception):
    """A part ended, or was not ready in time; its log's last lines are the message."""


class Cluster:
    """Redis, gateways and predictors that run now."""

    def __init__(self, logs: Path, environ: Mapping[str, str]) -> None:
        self.ports: list[int] = []
        """One of each gateway."""
        self.redis_url = environ.get("PENSTOCK_REDIS_URL", "")
        self._logs = logs
        self._environ = environ
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ops_ports: list[int] = []

    @property
    def pids(self) -> dict[str, int]:
        """By name: ``redis``, ``gateway-1``, ``predictor-1`` and so on."""
        return {name: process.pid for name, process in self._processes.items()}

    @property
    def port(self) -> int:
        """Of the first gateway."""
        return self.ports[0]

    def counters(self) -> dict[str, float]:
        """The predictors' counters, summed, under the names of :data:`COUNTED`."""
        sums = dict.fromkeys(COUNTED.values(), 0.0)
        for port in self._ops_ports:
            for name, value in _SAMPLE.findall(_get(port, "/metrics")):
                if name in COUNTED:
                    sums[COUNTED[name]] += float(value)
        return sums

    def start_gateways(self, count: int) -> None:
        """Each on a port of its own, as behind a balancer.

        Of the one socket that they share in ``make run``, a single one takes all the connections
        of a client that opens many at once.
        """
        for number in range(1, count + 1):
            with claim(HOST, 0) as listener:
                name, own = f"gateway-{number}", {"PENSTOCK_GATEWAY_FD": str(listener.fileno())}
                self._start(name, "services.gateway", own, fd=listener.fileno())
                port = address_of(listener)[1]
                self._wait(name, readyz(HOST, port))
                self.ports.append(port)

    def start_predictors(self, count: int) -> None:
        """Each with its share of the cores, all of them starting at once."""
        threads = usable_cores() // count or 1 if count > 1 else 0  # as make run has it
        ports = free_ports(count)
        for number, port in enumerate(ports, start=1):
            own = {"PENSTOCK_OPS_PORT": str(port), "PENSTOCK_PREDICTOR_THREADS": str(threads)}
            self._start(f"predictor-{number}", "services.predictor", own)
        for number, port in enumerate(ports, start=1):
            self._wait(f"predictor-{number}", readyz(HOST, port))
        self._ops_ports += ports

    def start_preprocessors(self, count: int) -> None:
        """Where a model wants them."""
        for number, port in enumerate(free_ports(count), start=1):
            own = {"PENSTOCK_OPS_PORT": str(port)}
            self._start(f"preprocess-{number}", "services.preprocess", own)
            self._wait(f"preprocess-{number}", readyz(HOST, port))

    def start_redis(self, command: list[str], ready: Probe, *, fd: int) -> None:
        """Start the embedded server; it inherits the lock on its data."""
        self._spawn("redis", command, self._environ, fd=fd)
        self._wait("redis", ready)

    def _start(
        self, name: str, module: str, own: Mapping[str, str], *, fd: int | None = None
    ) -> None:
        command = [sys.executable, "-m", module]
        self._spawn(name, command, {**own, **self._environ}, fd=fd)

    def _spawn(
        self, name: str, command: list[str], environ: Mapping[str, str], *, fd: int | None
    ) -> None:
        with (self._logs / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                tethered(command),
                env=environ,
                pass_fds=() if fd is None else (fd,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait(self, name: str, ready: Probe) -> None:
        """Return once a part is ready.

        Raises:
            DidNotStart
        """
        deadline = time.monotonic() + _START_LIMIT_S
        while (reason := asyncio.run(_ask(ready))) is not None:
            ended = self._processes[name].poll() is not None
            if ended or time.monotonic() > deadline:
                log = (self._logs / f"{name}.log").read_text(errors="replace")
                raise DidNotStart(f"{name}: {reason}\n{log[-2000:]}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End every part, last started first; one that takes long is killed."""
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(timeout=_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def cluster(
    cache: Path,
    label: str,
    *,
    environ: Mapping[str, str],
    predictors: int = 1,
    gateways: int = 1,
    preprocessors: int = 0,
) -> Iterator[Cluster]:
    """A cluster over an empty Redis; ``environ`` holds its ``PENSTOCK_`` settings.

    Settings of the surrounding shell do not reach it: a measurement is repeatable.
    """
    logs, data = cache / "logs" / label, cache / "data" / f"{label}-{os.getpid()}"
    logs.mkdir(parents=True, exist_ok=True)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
    inherited["PENSTOCK_PREDICTOR_MODELS"] = environ["PENSTOCK_MODEL"]  # and no other, unless told
    try:
        with embedded_redis(data, None) as redis:
            part = redis.part()
            running = Cluster(logs, {**inherited, **environ, "PENSTOCK_REDIS_URL": redis.url})
            try:
                running.start_redis(list(part.command), part.ready, fd=redis.lock_fd)
                running.start_preprocessors(preprocessors)
                running.start_predictors(predictors)
                running.start_gateways(gateways)
                yield running
            finally:
                running.stop()
    finally:
        shutil.rmtree(data, ignore_errors=True)


async def _ask(ready: Probe) -> str | None:
    return await ready()


def _get(port: int, path: str) -> str:
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
