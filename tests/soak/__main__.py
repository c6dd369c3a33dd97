"""``python -m tests.soak``: many jobs, random kills, and an account of every one of them.

Tells what was submitted, accepted and answered, what was lost (must be 0) and settled twice
(must be 0), how many stale results were refused, and how long recovery took.

Real processes, the stand-in model, Redis with ``appendfsync always``. Ends when ``--jobs`` were
accepted or ``--seconds`` have passed, whichever comes first; then everything gets time to end.
Exit status 1 if a job was lost, ended twice or has another's answer.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from shared.queue.connection import connect
from tests.clients import QueueClient
from tests.fault.cluster import LEASE_S, POLL_S, Cluster, running_cluster
from tests.fault.load import Load
from tests.soak.chaos import Chaos, Kill
from tests.soak.ledger import Ledger, refused

_MOST_OPEN = 2_000
"""Jobs open at once; the clients pause beyond that."""
_SETTLE_WITHIN_S = 90.0


async def soak(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Run it all; the account."""
    async with running_cluster(folder, forward_ms=options.forward_ms) as cluster:
        for _ in range(options.gateways):
            cluster.gateway()
        for _ in range(options.predictors):
            cluster.predictor()
        await cluster.ready()
        async with connect(cluster.redis.url) as redis, cluster.supervised():
            return await _account(options, cluster, QueueClient(redis))


async def _account(
    options: argparse.Namespace, cluster: Cluster, client: QueueClient
) -> dict[str, object]:
    load = Load(cluster.gateways, text=lambda number: f"text {number}")
    ledger = Ledger(load.accepted)
    chaos = Chaos(cluster, options.kill_every, options.redis_kill_every, seed=options.seed)
    started_at = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(ledger.follow(client))
        killing = tasks.create_task(chaos.run())
        async with load.running(clients=options.clients, synchronous=options.clients // 8):
            await _enough(options, load, ledger, until=started_at + options.seconds)
        killing.cancel()
        with suppress(asyncio.CancelledError):
            await killing
        loaded_s = time.monotonic() - started_at
        await cluster.ready()
        await _settled(ledger)
        following.cancel()
    lost, twice = await ledger.lost(client), await ledger.changed(client)
    total_s = time.monotonic() - started_at
    latencies = ledger.latencies_s() or [0.0]
    for kill in chaos.kills:
        kill.recovery_s = ledger.recovery_s(kill.at_us)
    return {
        "submitted": load.submitted,
        "accepted": len(load.accepted),
        **ledger.states(),
        "lost": len(lost),
        "settled_twice": len(twice),
        "wrong_answers": len(ledger.wrong()),
        "unexpected_http_answers": [str(reply) for reply in load.unexpected[:10]],
        "stale_results_refused": refused([part.log for part in cluster.predictors]),
        "kills": _by_kind(chaos.kills),
        "loaded_s": round(loaded_s, 1),
        "total_s": round(total_s, 1),
        "jobs_per_s": round(len(load.accepted) / max(loaded_s, 1e-9), 1),
        "job_latency_s": {
            "p50": round(statistics.median(latencies), 3),
            "p99": round(latencies[int(len(latencies) * 0.99)], 3),
            "longest": round(latencies[-1], 3),
        },
        "recovery_s": {
            "what": "from a kill to the end of the last job that was open then",
            "designed": f"lease {LEASE_S} + poll {POLL_S} after a kill, two leases after Redis",
            **_recoveries(chaos.kills),
        },
        "options": vars(options),
    }


async def _enough(options: argparse.Namespace, load: Load, ledger: Ledger, *, until: float) -> None:
    """Wait for the jobs or the seconds; hold the load back while too many jobs are open."""
    said_at = time.monotonic()
    while len(load.accepted) < options.jobs and time.monotonic() < until:
        open_jobs = len(load.accepted) - len(ledger.ends)
        if open_jobs > _MOST_OPEN:
            load.may_go_on.clear()
        else:
            load.may_go_on.set()
        if time.monotonic() >= said_at + 10:
            said_at = time.monotonic()
            print(f"{len(load.accepted)} accepted, {open_jobs} open", file=sys.stderr, flush=True)
        await asyncio.sleep(0.1)


async def _settled(ledger: Ledger) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_SETTLE_WITHIN_S):
            while ledger.open_ids:
                await asyncio.sleep(0.2)


def _by_kind(kills: list[Kill]) -> dict[str, int]:
    kinds = sorted({kill.kind for kill in kills})
    return {kind: sum(kill.kind == kind for kill in kills) for kind in kinds}


def _recoveries(kills: list[Kill]) -> dict[str, dict[str, float]]:
    told: dict[str, dict[str, float]] = {}
    for kind in _by_kind(kills):
        took = [kill.recovery_s for kill in kills if kill.kind == kind]
        told[kind] = {"median": round(statistics.median(took), 2), "longest": round(max(took), 2)}
    return told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3_600)
    parser.add_argument("--predictors", type=int, default=4)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--kill-every", type=float, default=2.0, help="seconds, on average")
    parser.add_argument("--redis-kill-every", type=float, default=60.0, help="seconds, on average")
    parser.add_argument("--forward-ms", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None, help="write the account here, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-soak-") as folder:
        account = asyncio.run(soak(options, Path(folder)))
    text = json.dumps(account, indent=2, default=str)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 1 if account["lost"] or account["settled_twice"] or account["wrong_answers"] else 0


if __name__ == "__main__":
    sys.exit(main())
