"""What more predictors bring: 1, 2, 4 and 8 of them against one.

The stand-in waits a fixed time for each batch of at most four rows, and computes nothing: the
devices are as many as the predictors, whatever cores this machine has. What does not grow
with them is what the queue, the gateway and two cores cost.
"""

from typing import Final

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import cluster
from bench.load import figures, run_load
from bench.plan import Figures, Measured, Plan, medians
from bench.table import table

PREDICTORS: Final = (1, 2, 4, 8)
CLIENTS: Final = 128
"""Twice what eight predictors hold: nobody waits for a client."""
ROWS_IN_BATCH: Final = 4

_SECONDS: Final = 10


def measure(plan: Plan) -> Measured:
    """Medians of several runs, each of them once with every number of predictors."""
    runs: list[Figures] = []
    for _ in range(plan.runs):
        runs += [_run(count, plan) for count in PREDICTORS]
    rows = [medians([run for run in runs if run["predictors"] == n]) for n in PREDICTORS]
    for row in rows:
        row["against_one"] = round(float(row["per_s"]) / float(rows[0]["per_s"]), 3)
    columns = ("predictors", "per_s", "against_one", "of_devices", "mean_batch", "p50_ms", "p99_ms")
    costs = ("gateway_cpu_us", "redis_cpu_us", "predictor_cpu_us", "cores_busy")
    shown: list[Figures] = [{name: row[name] for name in columns + costs} for row in rows]
    summary: Figures = {f"against_one_{row['predictors']}": row["against_one"] for row in rows}
    return Measured(runs=runs, summary=summary, text=table(shown))


def _run(predictors: int, plan: Plan) -> Figures:
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": models.WAITING,
        "PENSTOCK_PREDICTOR_MAX_ROWS": str(ROWS_IN_BATCH),
    }
    most_per_s = predictors * ROWS_IN_BATCH * 1e3 / models.FORWARD_MS
    texts = [f"request {number:03}" for number in range(500)]
    label = f"scale-{predictors}"
    with cluster(plan.cache, label, environ=environ, predictors=predictors) as running:
        load = run_load(
            running,
            LoadSpec(
                port=running.port,
                connections=CLIENTS,
                warm=2 * CLIENTS,
                timed=round(most_per_s * plan.size(_SECONDS, 2)),
                requests=[Request({"inputs": text}, {"echo": text}) for text in texts],
            ),
        )
    return {
        "predictors": predictors,
        "of_devices": round(load.per_s / most_per_s, 4),
        "mean_batch": round(load.mean_batch, 2),
        "cores_busy": round(sum(load.cpu_s.values()) / load.seen.seconds, 2),
        **figures(load),
    }
