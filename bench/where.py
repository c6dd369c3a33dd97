"""Where the microseconds of a request go: by file in gateway and predictor, by verb in Redis.

The load of ``gateway-cpu``: an echo, so that there is no model. py-spy looks at a process 500
times a second while it serves. A sample counts for the innermost file of ours in its stack, else
for uvicorn; what has neither is the event loop with its calls to the system. Microseconds are
those shares of the CPU that the process takes for a request while nobody looks. How long its
commands take Redis says itself; the rest of its time is reading, writing, the append-only file.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from redis import Redis

from bench import models
from bench.client import LoadSpec
from bench.cluster import Cluster, cluster
from bench.gateway_cpu import echo_load
from bench.load import run_load
from bench.plan import Figures, Measured, Plan, medians, prefixed
from bench.table import listing
from shared.queue.scripts import Script

_LOOKED_AT: Final = ("gateway", "predictor")
_VERBS: Final = ("submit", "begin", "settle", "watch", "heartbeat", "trim")
_SAMPLES_PER_S: Final = 500
_LEAST: Final = 0.01
"""Of a whole: what is shown by itself."""
_OURS: Final = ("services/", "shared/")
_SERVER: Final = "uvicorn/"
_IDLE: Final = ("_worker (concurrent/futures/thread.py", "select (selectors.py")
_KEPT_COMMANDS: Final = 1_000_000


Spent = dict[str, float]
"""Microseconds by name of a command."""


class CannotLook(Exception):
    """py-spy is not allowed to look into a process."""


def measure(plan: Plan) -> Measured:
    """Medians of several runs: one that nobody looks at, then one for each process."""
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": models.ECHO,
    }
    runs: list[Figures] = []
    with cluster(plan.cache, "where", environ=environ) as running:
        for _ in range(plan.runs):
            before = _commands_us(running)
            spec = echo_load(running, plan)
            load = run_load(running, spec)
            after, requests = _commands_us(running), spec.warm + spec.timed
            spent = {name: (us - before.get(name, 0)) / requests for name, us in after.items()}
            verbs = _by_verb(running, spec, spent, whole_us=load.cpu_us("redis"))
            figures = prefixed("redis: ", verbs)
            for part in _LOOKED_AT:
                shares = _shares(running, part, plan)
                by_file = {name: share * load.cpu_us(part) for name, share in shares.items()}
                figures |= prefixed(f"{part}: ", _largest_first(by_file))
            runs.append({name: round(float(us), 1) for name, us in figures.items()})
    summary = medians(runs)
    return Measured(runs=runs, summary=summary, text=listing(summary))


def owners(lines: Iterable[str]) -> Counter[str]:
    """Samples by the file that they count for, of what py-spy writes as ``raw``."""
    samples: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] for frame in stack.split(";")]
        if not frames[-1].endswith(_IDLE):
            samples[_owner([frame.partition("(")[2] for frame in frames])] += int(count)
    return samples


def _owner(files: list[str]) -> str:
    for file in reversed(files):
        if file.startswith(_OURS) and not file.endswith("__main__.py"):
            return file
    return "uvicorn" if any(file.startswith(_SERVER) for file in files) else "event loop"


def _shares(running: Cluster, part: str, plan: Plan) -> dict[str, float]:
    """Of a process's time, by file; each file that has a hundredth."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        told = Path(folder) / "samples"
        command = [
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw"),
            *("--pid", str(running.pids[f"{part}-1"]), "--output", str(told)),
            *("--rate", str(_SAMPLES_PER_S), "--duration", str(plan.size(4, 1))),
        ]
        spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        run_load(running, echo_load(running, plan))
        _, complaint = spy.communicate()
        if spy.returncode:
            raise CannotLook(f"{complaint.decode()}: run this as root")
        samples = owners(told.read_text().splitlines())
    whole = samples.total() or 1
    shares = {name: count / whole for name, count in samples.items() if count >= _LEAST * whole}
    return {**shares, "all else": 1 - sum(shares.values())}


def _by_verb(running: Cluster, spec: LoadSpec, spent: Spent, *, whole_us: float) -> Figures:
    """Microseconds a request that Redis spends inside each script, and in the two blocking reads.

    The slow log tells the scripts apart, and costs time by itself: only shares are taken of it.
    """
    names = {Script(verb).sha.encode(): verb for verb in _VERBS}
    with Redis.from_url(running.redis_url) as redis:
        redis.config_set("slowlog-max-len", _KEPT_COMMANDS)
        redis.config_set("slowlog-log-slower-than", 0)
        redis.slowlog_reset()
        run_load(running, spec)
        redis.config_set("slowlog-log-slower-than", -1)
        log = [entry for entry in redis.slowlog_get(_KEPT_COMMANDS) if _is_script(entry)]
        redis.slowlog_reset()
    by_verb: Counter[str] = Counter()
    for entry in log:
        sha = entry["command"].split(b" ", 2)[1]
        by_verb[names.get(sha, "other verbs")] += entry["duration"]
    shares = {verb: us / by_verb.total() for verb, us in by_verb.items()}
    us = {verb: share * spent["evalsha"] for verb, share in shares.items() if share >= _LEAST}
    us |= {"XREADGROUP": spent["xreadgroup"], "XREAD": spent["xread"]}
    rest_us = whole_us - sum(us.values())
    return _largest_first(us) | {"all else": rest_us}


def _is_script(entry: Mapping[str, bytes]) -> bool:
    return entry["command"].startswith(b"EVALSHA ")  # what it calls is in the log, too


def _commands_us(running: Cluster) -> Spent:
    """Microseconds so far inside each command."""
    with Redis.from_url(running.redis_url) as redis:
        told = redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): float(one["usec"]) for name, one in told.items()}


def _largest_first(us: Mapping[str, float]) -> Figures:
    names = sorted(us, key=lambda name: -us[name])
    return {name: us[name] for name in names}
