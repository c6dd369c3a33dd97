"""Start a load client, read the CPU of everybody before and after its timed requests.

Knows processes and counters; what is asked and what the figures mean is each measurement's.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Final, Protocol

import msgspec

from bench import cpu
from bench.children import tethered
from bench.client import LoadSpec, Seen
from bench.plan import Figures, quantile

PARTS: Final = ("gateway", "redis", "predictor", "client")


class LoadFailed(Exception):
    """The client saw an answer that must not be, or none; its last words are the message."""


class System(Protocol):
    """What is measured."""

    @property
    def pids(self) -> Mapping[str, int]:
        """Its processes by name; their children count as theirs."""

    def counters(self) -> dict[str, float]:
        """What it counts itself, as far as it does."""


class Load(msgspec.Struct, frozen=True):
    """One run of a client against a cluster."""

    seen: Seen
    cpu_s: dict[str, float]
    """By process, the client included, while the timed requests ran."""
    wanted_s: dict[str, float]
    """In which its main thread ran, or was ready and had no core."""
    others_cpu_s: float
    """What the rest of the machine took meanwhile: hardly anything, or the run is worth little."""
    counted: dict[str, float]
    """How far the predictors' counters went meanwhile, all predictors summed."""

    @property
    def per_s(self) -> float:
        """Requests answered in a second."""
        return self.seen.requests / self.seen.seconds

    @property
    def mean_batch(self) -> float:
        """Rows in a forward."""
        return self.counted["rows"] / self.counted["batches"]

    @property
    def device_busy(self) -> float:
        """Share of the time that a forward ran; of several predictors the sum."""
        return self.counted["forward_s"] / self.seen.seconds

    def padding(self, tokens: int) -> float:
        """Share of what was computed that is none of the requests' ``tokens``."""
        return 1 - tokens / self.counted["padded_tokens"]

    def cpu_us(self, prefix: str) -> float:
        """CPU for each request of the processes whose name begins so, microseconds."""
        total_s = sum(spent for name, spent in self.cpu_s.items() if name.startswith(prefix))
        return total_s * 1e6 / self.seen.requests


def figures(load: Load) -> Figures:
    """What every measurement under load keeps of a run."""
    latencies_ms = load.seen.latencies_ms
    return {
        "per_s": round(load.per_s, 1),
        "p50_ms": quantile(latencies_ms, 0.5),
        "p99_ms": quantile(latencies_ms, 0.99),
        **{f"{part}_cpu_us": round(load.cpu_us(part), 1) for part in PARTS},
        **{f"{name}_cpu_s": spent for name, spent in load.cpu_s.items()},
        "others_cpu_s": load.others_cpu_s,
        **{f"{stage}_ms": round(fmean(each), 3) for stage, each in load.seen.stages_ms.items()},
    }


def run_load(system: System, spec: LoadSpec) -> Load:
    """Run one closed-loop client to its end.

    Raises:
        LoadFailed
    """
    told = run_client(system, "bench.client", spec)
    return Load(
        seen=msgspec.json.decode(told.seen, type=Seen),
        cpu_s=told.cpu_s,
        wanted_s=told.wanted_s,
        others_cpu_s=told.others_cpu_s,
        counted=told.counted,
    )


class Told(msgspec.Struct, frozen=True):
    """What any client saw, as it said it, and what everybody spent meanwhile."""

    seen: bytes
    cpu_s: dict[str, float]
    wanted_s: dict[str, float]
    others_cpu_s: float
    counted: dict[str, float]


def run_client(system: System, module: str, spec: msgspec.Struct) -> Told:
    """Run a client, a module that speaks as ``bench.client`` does, to its end.

    Raises:
        LoadFailed
    """
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        file = Path(folder) / "load.json"
        file.write_bytes(msgspec.json.encode(spec))
        client = subprocess.Popen(
            tethered([sys.executable, "-m", module, str(file)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            return _conduct(system, client)
        finally:
            client.kill()
            client.communicate()


def _conduct(system: System, client: subprocess.Popen[str]) -> Told:
    pids = {**system.pids, "client": client.pid}
    _expect(client, "warm")
    counted_before = system.counters()
    cpu_before, wanted_before = cpu.read(pids), cpu.wanted(pids)
    machine_before_s = cpu.machine_s()
    assert client.stdin is not None
    client.stdin.write("go\n")
    client.stdin.flush()
    _expect(client, "done")
    cpu_s = cpu.spent(cpu_before, cpu.read(pids))
    wanted_s = cpu.spent(wanted_before, cpu.wanted(pids))
    machine_s = cpu.machine_s() - machine_before_s
    counted_after = system.counters()
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line:
        raise LoadFailed(_last_words(client))
    return Told(
        seen=line.encode(),
        cpu_s=cpu_s,
        wanted_s=wanted_s,
        others_cpu_s=round(machine_s - sum(cpu_s.values()), 2),
        counted=_grown(counted_before, counted_after),
    )


def _expect(client: subprocess.Popen[str], word: str) -> None:
    assert client.stdout is not None
    line = client.stdout.readline()
    if line.strip() != word:
        raise LoadFailed(_last_words(client))


def _last_words(client: subprocess.Popen[str]) -> str:
    assert client.stderr is not None
    return client.stderr.read().strip() or "the client ended without a word"


def _grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before.get(name, 0.0) for name in after}
