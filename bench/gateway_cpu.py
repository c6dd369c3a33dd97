"""What the service itself costs: CPU of gateway and Redis for each synchronous request.

A stand-in that echoes at once, so that there is no tokenizing and no model: 64 clients, one
short text in each request.
"""

from typing import Final

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import Cluster, cluster
from bench.load import figures, run_load
from bench.plan import Measured, Plan, medians
from bench.table import listing

CLIENTS: Final = 64
MOST_GATEWAY_CPU_US: Final = 250


def measure(plan: Plan) -> Measured:
    """Medians of several runs against one cluster."""
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": models.ECHO,
    }
    with cluster(plan.cache, "gateway-cpu", environ=environ) as running:
        loads = [run_load(running, echo_load(running, plan)) for _ in range(plan.runs)]
    runs = [{**figures(load), "mean_batch": load.mean_batch} for load in loads]
    summary = medians(runs)
    summary["reached"] = float(summary["gateway_cpu_us"]) <= MOST_GATEWAY_CPU_US
    return Measured(runs=runs, summary=summary, text=listing(summary))


def echo_load(running: Cluster, plan: Plan) -> LoadSpec:
    """64 clients, one short text in each request."""
    texts = [f"request {number}: a line of text, as they come" for number in range(1_000)]
    return LoadSpec(
        port=running.port,
        connections=CLIENTS,
        warm=plan.size(2_000, 200),
        timed=plan.size(20_000, 1_000),
        requests=[Request({"inputs": text}, {"echo": text}) for text in texts],
    )
