"""The same work under few clients and many: how fast one is answered, what many get together.

MiniLM-L6's shape in float32 by two predictors, the best setup of ``serve`` that is exact. 1, 8,
64 and 256 clients in a closed loop, one text of mixed length in each request, the same texts for
all. The seven stages are the means of what the answers say of themselves: they add up to the
latency, but for HTTP and the client.
"""

from typing import Final

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import Cluster, cluster
from bench.inprocess import run_inprocess
from bench.load import figures, run_load
from bench.plan import Figures, Measured, Plan, medians, prefixed
from bench.serve import BEST, checked
from bench.table import side_by_side
from bench.texts import texts

CLIENTS: Final = (1, 8, 64, 256)

_SEED: Final = 17
_ROWS: Final = 1_500
_WARM: Final = 256
_STAGES: Final = ("admit", "preprocess", "queue", "batch", "inference", "settle", "reply")
_SHOWN: Final = (
    *("per_s", "p50_ms", "p99_ms"),
    *("gateway_cpu_us", "redis_cpu_us", "predictor_cpu_us", "client_cpu_us"),
    *("mean_batch", "padding"),
    *(f"{stage}_ms" for stage in _STAGES),
)


def measure(plan: Plan) -> Measured:
    """Medians of several runs, each of them once with every number of clients."""
    environ = BEST.environ(plan.cache)
    tokenizer = models.tokenizer_of(BEST.model, plan.cache)
    asked = texts(tokenizer, plan.size(_ROWS, 300), seed=_SEED)
    told = run_inprocess(BEST.offline(asked, plan.cache))
    requests, tokens = checked(asked, told.outputs), sum(told.tokens)
    warm, runs = plan.size(_WARM, 64), list[Figures]()
    with cluster(plan.cache, "clients", environ=environ, predictors=BEST.predictors) as running:
        for _ in range(plan.runs):
            runs += [_run(running, count, requests, tokens, warm=warm) for count in CLIENTS]
    summary: Figures = {}
    shown: dict[str, Figures] = {}
    for count in CLIENTS:
        row = medians([run for run in runs if run["clients"] == count])
        name = "1 client" if count == 1 else f"{count} clients"
        shown[name] = {figure: row[figure] for figure in _SHOWN}
        summary |= prefixed(f"{name}: ", shown[name])
    return Measured(runs=runs, summary=summary, text=side_by_side(shown))


def _run(
    running: Cluster, clients: int, requests: list[Request], tokens: int, *, warm: int
) -> Figures:
    spec = LoadSpec(
        port=running.port,
        connections=clients,
        warm=warm,
        timed=len(requests),
        requests=requests,
    )
    load = run_load(running, spec)
    return {
        "clients": clients,
        "mean_batch": round(load.mean_batch, 2),
        "padding": round(load.padding(tokens), 4),
        **figures(load),
    }
