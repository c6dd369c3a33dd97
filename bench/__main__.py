"""``python -m bench [names…]``: measure, print a table, keep the figures."""

import argparse
import signal
import sys
from pathlib import Path
from typing import Final

from bench import (
    beside,
    beside_large,
    clients,
    gateway_cpu,
    gpu,
    hop,
    kinds,
    memory,
    offline,
    overload,
    policy,
    redis_call,
    scale,
    serve,
    where,
    worst_wait,
)
from bench.peers import measure as peers
from bench.plan import Measurement, Plan
from bench.results import machine, save, tables

MEASUREMENTS: Final[dict[str, Measurement]] = {
    "hop": hop.measure,
    "offline": offline.measure,
    "serve": serve.measure,
    "clients": clients.measure,
    "worst-wait": worst_wait.measure,
    "overload": overload.measure,
    "gateway-cpu": gateway_cpu.measure,
    "where": where.measure,
    "kinds": kinds.measure,
    "beside": beside.measure,
    "beside-large": beside_large.measure,
    "redis-call": redis_call.measure,
    "memory": memory.measure,
    "scale": scale.measure,
    "policy": policy.measure,
    "gpu": gpu.measure,
    "peers": peers.measure,
}
ONLY_IF_NAMED: Final = {"gpu", "peers", "where"}
"""One wants a GPU, the others install gigabytes, the last looks into processes: not all may."""

_CACHE: Final = Path("build/bench")
_RUNS: Final = 5


def main() -> int:
    """Exit status 0 when everything that was asked for could be measured."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # unwinds, so that all ends
    arguments = _parser().parse_args()
    if arguments.tables:
        print(tables())
        return 0
    runs = arguments.runs or (1 if arguments.smoke else _RUNS)
    plan = Plan(runs=runs, smoke=arguments.smoke, cache=_CACHE)
    for name in arguments.names or [name for name in MEASUREMENTS if name not in ONLY_IF_NAMED]:
        where = machine()
        print(f"\n## {name}: {_first_line(name)}\n", flush=True)
        measured = MEASUREMENTS[name](plan)
        file = save(name, measured, plan, machine=where)
        print(f"{measured.text}\n\n{file}", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure this machine.")
    parser.add_argument(
        "names", nargs="*", choices=[*MEASUREMENTS, []], help="all but gpu, peers and where"
    )
    parser.add_argument("--smoke", action="store_true", help="small counts: does it work?")
    parser.add_argument("--tables", action="store_true", help="measure nothing: show what is kept")
    parser.add_argument("--runs", type=int, help=f"of which the medians are taken; {_RUNS}")
    return parser


def _first_line(name: str) -> str:
    module = sys.modules[MEASUREMENTS[name].__module__]
    return (module.__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
