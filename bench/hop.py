"""What the service adds to one request at a time: HTTP, queue and back, against no server.

The shipped model, one client. In turn with a process that tokenizes and computes the same
texts itself, a second each: the pace of a machine changes within minutes by more than the
hop. The difference of a pair's medians is its hop, the median of all pairs is the figure.
"""

from typing import Final

from bench import models
from bench.client import LoadSpec
from bench.cluster import cluster
from bench.inprocess import Spec, inprocess
from bench.load import figures, run_load
from bench.plan import Figures, Measured, Plan, medians, quantile
from bench.serve import checked
from bench.table import listing
from bench.texts import texts

MOST_HOP_MS: Final = 1.0

PAIRS: Final = 10
"""In a run."""

_SEED: Final = 11


def measure(plan: Plan) -> Measured:
    """Medians of many pairs, each in-process and over HTTP."""
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": models.SHIPPED,
    }
    tokenizer = models.tokenizer_of(models.SHIPPED, plan.cache)
    asked = texts(tokenizer, plan.size(200, 50), seed=_SEED)
    spec = Spec(str(plan.cache), models.SHIPPED, asked, alone=True, batch_tokens=[], pack=True)
    runs: list[Figures] = []
    with cluster(plan.cache, "hop", environ=environ) as running, inprocess(spec) as compute:
        for _ in range(plan.runs * plan.size(PAIRS, 1)):
            told = compute()
            load = run_load(
                running,
                LoadSpec(
                    port=running.port,
                    connections=1,
                    warm=20,
                    timed=len(asked),
                    requests=checked(asked, told.outputs),
                ),
            )
            inprocess_ms = told.latencies_ms
            served = figures(load)
            runs.append(
                {
                    "hop_p50_ms": float(served["p50_ms"]) - quantile(inprocess_ms, 0.5),
                    "hop_p99_ms": float(served["p99_ms"]) - quantile(inprocess_ms, 0.99),
                    "inprocess_p50_ms": quantile(inprocess_ms, 0.5),
                    "inprocess_p99_ms": quantile(inprocess_ms, 0.99),
                    **served,
                }
            )
    summary = medians(runs)
    summary["reached"] = float(summary["hop_p50_ms"]) <= MOST_HOP_MS
    return Measured(runs=runs, summary=summary, text=listing(summary))
