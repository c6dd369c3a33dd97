"""How long anybody waits at worst, against what the batcher promises, with very long texts about.

The best setup of ``serve`` at saturation: 64 clients in a closed loop, one text in a hundred of
as many tokens as the model takes. A wait is what an answer says of itself, ``queue`` and
``batch``: from the moment when the text was tokenized to the begin of its forward.

The promise (``services/predictor/batcher.py``): a delivery with k others before it leaves with
the k+1-th of their batches at the latest. Of C clients at most C - 1 others are there, those that
run or are begun ahead included, so that at most C - 1 forwards come first. The bound is C - 1
times the longest forward that any answer of the run tells of: the configured limit of a
forward is a plan, which a very long text exceeds by itself. What passes between two forwards is
not in the bound. With several predictors it is generous: those others are shared among them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

from bench import models
from bench.client import LoadSpec, Request, Seen
from bench.cluster import Cluster, cluster
from bench.inprocess import run_inprocess
from bench.load import figures, run_load
from bench.plan import Figures, Measured, Plan, medians, quantile
from bench.serve import BEST, CLIENTS, checked
from bench.table import listing
from bench.texts import VERY_LONG_TOKENS, lengths, some_very_long, texts_of

_SEED: Final = 19
_ROWS: Final = 2_000
_ROUNDS: Final = 2
"""How often all texts are asked in a run: of many waits the worst says more."""
_WARM: Final = 2 * CLIENTS


@dataclass(frozen=True, slots=True)
class Work:
    """One round of requests."""

    requests: list[Request]
    very_long: list[bool]
    """Of each request."""
    tokens: int
    """Of all."""


def measure(plan: Plan) -> Measured:
    """Medians of several runs; worst wait and bound are of the run that came nearest to it."""
    environ = BEST.environ(plan.cache)
    wanted = some_very_long(lengths(plan.size(_ROWS, 200), seed=_SEED), random.Random(_SEED))
    asked = texts_of(models.tokenizer_of(BEST.model, plan.cache), wanted, seed=_SEED)
    told = run_inprocess(BEST.offline(asked, plan.cache))
    requests = checked(asked, told.outputs)
    work = Work(requests, [tokens == VERY_LONG_TOKENS for tokens in wanted], sum(told.tokens))
    label = "worst-wait"
    with cluster(plan.cache, label, environ=environ, predictors=BEST.predictors) as running:
        runs = [_run(running, work) for _ in range(plan.runs)]
    worst = max(runs, key=lambda run: float(run["of_bound"]))
    shown = ("worst_wait_s", "bound_s", "of_bound", "longest_forward_s")
    summary = {**medians(runs), **{name: worst[name] for name in shown}}
    summary["reached"] = float(summary["of_bound"]) <= 1
    return Measured(runs=runs, summary=summary, text=listing(summary))


def against_bound(seen: Seen, very_long: Sequence[bool], *, clients: int) -> Figures:
    """The waits, of all requests and of the very long ones, and the bound."""
    stages_ms = seen.stages_ms
    pairs = zip(stages_ms["queue"], stages_ms["batch"], strict=True)
    waits_s = [(queue_ms + batch_ms) / 1e3 for queue_ms, batch_ms in pairs]
    very_long_s = list(compress(waits_s, very_long))
    longest_forward_s = max(stages_ms["inference"]) / 1e3
    bound_s = (clients - 1) * longest_forward_s
    return {
        "worst_wait_s": round(max(waits_s), 4),
        "bound_s": round(bound_s, 3),
        "of_bound": round(max(waits_s) / bound_s, 4),
        "longest_forward_s": round(longest_forward_s, 4),
        "p50_wait_s": round(quantile(waits_s, 0.5), 4),
        "p99_wait_s": round(quantile(waits_s, 0.99), 4),
        "very_long": len(very_long_s),
        "very_long_p50_wait_s": round(quantile(very_long_s, 0.5), 4),
        "very_long_worst_wait_s": round(max(very_long_s), 4),
    }


def _run(running: Cluster, work: Work) -> Figures:
    count = len(work.requests)
    spec = LoadSpec(
        port=running.port,
        connections=CLIENTS,
        warm=_WARM,
        timed=_ROUNDS * count,
        requests=work.requests,
    )
    load = run_load(running, spec)
    very_long = [work.very_long[(_WARM + number) % count] for number in range(spec.timed)]
    return {
        **against_bound(load.seen, very_long, clients=CLIENTS),
        "mean_batch": round(load.mean_batch, 2),
        "padding": round(load.padding(_ROUNDS * work.tokens), 4),
        **figures(load),
    }
