"""Requests that come whether or not others were answered: below capacity, and at twice of it.

MiniLM-L6's shape, two predictors. Capacity is what 64 clients in a closed loop get. Below it the
latencies count; at twice of it every request has a deadline of a second, and what counts is how
much of the capacity still ends in answers within it, and how soon the others are sent away.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import Cluster, cluster
from bench.load import run_client, run_load
from bench.open_client import Asked, OpenSpec, SeenOpen
from bench.plan import Figures, Measured, Plan, medians, quantile
from bench.table import table
from bench.texts import lengths, texts

CLIENTS: Final = 64
PREDICTORS: Final = 2
DEADLINE_MS: Final = 1_000
SHARES: Final = (0.5, 0.8, 2.0)
LEAST_IN_TIME: Final = 0.95

_SEED: Final = 11
_SECONDS: Final = 20.0
_SETTLED_S: Final = 3.0
"""The queue is empty at first: what comes then is answered, whatever is offered."""


def measure(plan: Plan) -> Measured:
    """Medians of several runs, each of them with every share in turn."""
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": models.MINILM,
    }
    tokenizer = models.tokenizer_of(models.MINILM, plan.cache)
    asked = texts(tokenizer, plan.size(2_000, 100), seed=_SEED)
    runs: list[Figures] = []
    label = "overload"
    with cluster(plan.cache, label, environ=environ, predictors=PREDICTORS) as running:
        for number in range(plan.runs):
            capacity = _capacity(running, asked, plan)
            runs += [
                _offered(running, asked, plan, share, capacity, seed=number) for share in SHARES
            ]
    rows = [medians([run for run in runs if run["offered"] == share]) for share in SHARES]
    summary: Figures = {f"in_time_{row['offered']}": row["in_time"] for row in rows}
    summary["reached"] = float(rows[-1]["in_time"]) >= LEAST_IN_TIME
    return Measured(runs=runs, summary=summary, text=table(rows))


def _spec(running: Cluster, requests: list[Request], *, timed: int) -> LoadSpec:
    return LoadSpec(
        port=running.port,
        connections=CLIENTS,
        warm=2 * CLIENTS,
        timed=timed,
        requests=requests,
    )


def _capacity(running: Cluster, asked: Sequence[str], plan: Plan) -> float:
    requests = [Request({"inputs": text}) for text in asked]
    return run_load(running, _spec(running, requests, timed=plan.size(2_000, 200))).per_s


def _offered(
    running: Cluster, asked: Sequence[str], plan: Plan, share: float, capacity: float, *, seed: int
) -> Figures:
    deadline = {"deadline_ms": DEADLINE_MS} if share > 1 else {}
    requests = [Request({"inputs": text, **deadline}) for text in asked]
    seconds = _SECONDS if not plan.smoke else _SETTLED_S + 2
    spec = OpenSpec(_spec(running, requests, timed=0), share * capacity, seconds, seed)
    told = run_client(running, "bench.open_client", spec)
    seen = msgspec.json.decode(told.seen, type=SeenOpen)
    counted = [one for one in seen.asked if one.due_s >= _SETTLED_S]
    sizes = lengths(len(asked), seed=_SEED)
    tokens = [sizes[one.number % len(sizes)] for one in counted]
    return _figures(counted, tokens, share, capacity, seconds - _SETTLED_S)


def _figures(
    asked: Sequence[Asked], tokens: Sequence[int], share: float, capacity: float, seconds: float
) -> Figures:
    answered = [one for one in asked if one.status == 200]
    # By tokens: whoever takes the short ones and refuses the long ones has answered less.
    in_time = sum(
        size
        for one, size in zip(asked, tokens, strict=True)
        if one.status == 200 and one.latency_ms <= DEADLINE_MS
    )
    possible = min(capacity * seconds, len(asked)) * sum(tokens) / len(tokens)
    refused = [one for one in asked if one.status == 429]
    waits_s = [one.retry_after_s or 0 for one in refused]
    return {
        "offered": share,
        "capacity_per_s": round(capacity, 1),
        "asked": len(asked),
        "answered": len(answered),
        "in_time": round(in_time / possible, 3),
        "p50_ms": round(quantile([one.latency_ms for one in answered] or [0.0], 0.5), 1),
        "p99_ms": round(quantile([one.latency_ms for one in answered] or [0.0], 0.99), 1),
        "refused": len(refused),
        "refused_p99_ms": round(quantile([o.latency_ms for o in refused] or [0.0], 0.99), 1),
        "retry_after_s": quantile(waits_s or [0], 0.5),
        "neither": len(asked) - len(answered) - len(refused),
    }
