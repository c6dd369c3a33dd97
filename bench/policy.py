"""The batcher by itself: real policy, a device that is a formula, arrivals that are recorded.

Says what a way of cutting batches is worth, in seconds instead of minutes and without noise. Each
way gets the same rows: in a closed loop of 64 clients, and as they come by themselves (Poisson) at
a share of what packed batches reach in that loop. One text in a hundred is very long. A way that
cannot keep up with what is offered waits for ever: its waits say no more than that.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from bench.plan import Figures, Measured, Plan, quantile
from bench.table import table
from bench.texts import lengths, some_very_long
from services.predictor.batcher import Batcher, BatchPolicy
from services.predictor.cost import CostModel, Extent
from shared.contract import ONLY_TENANT, Delivery, EntryId, JobId, Lane

CLIENTS: Final = 64
SHARES: Final = (0.7, 0.9)
"""Of what our packed batches reach in the closed loop, offered in the open one."""
MAX_FORWARD_S: Final = 0.1
MAX_ROWS: Final = 64
WINDOW: Final = 64
"""Rows that a way may choose from, the oldest ones."""

_SEED: Final = 7


class Formula(CostModel):
    """MiniLM-L6's shape on two cores, as ``make run`` logs it when the model is loaded."""

    fixed_s = 4e-3
    s_per_token = 115e-6
    s_per_pair = 30e-9

    def seconds(self, extent: Extent) -> float:
        """How long a forward takes."""
        pairs_s = self.s_per_pair * extent.pairs
        return self.fixed_s + self.s_per_token * extent.tokens + pairs_s


@dataclass(frozen=True, slots=True)
class Job:
    """One row."""

    number: int
    tokens: int
    arrived: float


Cut = Callable[[list[Job], float], list[Job]]
"""Of those that wait, oldest first, the next batch; the moment in seconds."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of cutting batches."""

    name: str
    packed: bool
    cut: Callable[["Way"], Cut]

    def seconds(self, jobs: Sequence[Job]) -> float:
        """How long the device computes."""
        return DEVICE.seconds(Extent.of([job.tokens for job in jobs], packed=self.packed))


DEVICE: Final = Formula()


def in_order(most_rows: int, most_s: float) -> Callable[[Way], Cut]:
    """First come, first served."""

    def cut_of(way: Way) -> Cut:
        def cut(waiting: list[Job], _now: float) -> list[Job]:
            batch = waiting[:1]
            for job in waiting[1:most_rows]:
                if way.seconds([*batch, job]) > most_s:
                    break
                batch.append(job)
            return batch

        return cut

    return cut_of


def ours(way: Way) -> Cut:
    """The predictor's own batcher."""
    policy = BatchPolicy(
        max_forward_s=MAX_FORWARD_S, token_budget=1 << 20, max_rows=MAX_ROWS, packed=way.packed
    )
    batcher, known = Batcher(policy, DEVICE), dict[str, Job]()

    def cut(waiting: list[Job], now: float) -> list[Job]:
        for job in waiting[:WINDOW]:
            if str(job.number) not in known:
                known[str(job.number)] = job
                batcher.add(_delivery(job), now=now)
        return [known[delivery.entry] for delivery in batcher.take(now=now, free_at=now)]

    return cut


def cheapest_cut(way: Way) -> Cut:
    """The window sorted by length and cut where the sum is least; the part with the oldest."""

    def cut(waiting: list[Job], _now: float) -> list[Job]:
        ranked = sorted(waiting[:WINDOW], key=lambda job: job.tokens)
        best_s, begins = [0.0], [0]
        for end in range(1, len(ranked) + 1):
            choices = []
            for begin in range(end):
                seconds = way.seconds(ranked[begin:end])
                if seconds <= MAX_FORWARD_S or end - begin == 1:
                    choices.append((best_s[begin] + seconds, begin))
            least_s, begin = min(choices)
            best_s.append(least_s)
            begins.append(begin)
        end = len(ranked)
        while waiting[0] not in ranked[begins[end] : end]:
            end = begins[end]
        return ranked[begins[end] : end]

    return cut


WAYS: Final = (
    Way("32 in order, padded", packed=False, cut=in_order(32, float("inf"))),
    Way("one at a time", packed=True, cut=in_order(1, float("inf"))),
    Way("in order to the limit, padded", packed=False, cut=in_order(MAX_ROWS, MAX_FORWARD_S)),
    Way("cheapest cut, padded", packed=False, cut=cheapest_cut),
    Way("ours, padded", packed=False, cut=ours),
    Way("in order to the limit, packed", packed=True, cut=in_order(MAX_ROWS, MAX_FORWARD_S)),
    Way("ours, packed", packed=True, cut=ours),
)


@dataclass(frozen=True, slots=True)
class Worked:
    """What a run took."""

    seconds: float
    busy_s: float
    batches: int
    waits_s: list[float]
    """From arrival to the beginning of its forward."""


def run(way: Way, arrivals: Sequence[Job], *, clients: int | None) -> Worked:
    """Let the rows come at their moments or, with clients, each when one of them has its answer."""
    cut, coming = way.cut(way), list(arrivals)
    future: list[tuple[float, int, Job]] = []
    for job in coming[: clients or len(coming)]:
        heappush(future, (job.arrived, job.number, job))
    left = iter(coming[clients:] if clients else [])
    now, busy_s, batches = 0.0, 0.0, 0
    waiting: list[Job] = []
    waits_s: list[float] = []
    while waiting or future:
        if not waiting:
            now = max(now, future[0][0])
        while future and future[0][0] <= now:
            waiting.append(heappop(future)[2])
        batch = cut(waiting, now)
        taken = {job.number for job in batch}
        waiting = [job for job in waiting if job.number not in taken]
        waits_s += [now - job.arrived for job in batch]
        seconds = way.seconds(batch)
        now, busy_s, batches = now + seconds, busy_s + seconds, batches + 1
        for _, job in zip(batch if clients else [], left, strict=False):
            heappush(future, (now, job.number, Job(job.number, job.tokens, now)))
    return Worked(now, busy_s, batches, waits_s)


def measure(plan: Plan) -> Measured:
    """Rows for each second of the device, and how long the rows waited."""
    draw = random.Random(_SEED)
    tokens = some_very_long(lengths(plan.size(5_000, 500), seed=_SEED), draw)
    at_once = [Job(number, length, 0.0) for number, length in enumerate(tokens)]
    runs = [
        _figures(f"closed, {CLIENTS} clients", way, run(way, at_once, clients=CLIENTS))
        for way in WAYS
    ]
    best_per_s = float(runs[-1]["per_device_s"])
    for share in SHARES:
        moments, moment = [], 0.0
        for _ in tokens:
            moment += draw.expovariate(share * best_per_s)
            moments.append(moment)
        poisson = [Job(n, t, m) for n, (t, m) in enumerate(zip(tokens, moments, strict=True))]
        load = f"open, {share:.0%} offered"
        runs += [_figures(load, way, run(way, poisson, clients=None)) for way in WAYS]
    summary: Figures = {f"{run['load']}: {run['way']}": run["per_device_s"] for run in runs}
    return Measured(runs=runs, summary=summary, text=table(runs))


def _figures(load: str, way: Way, worked: Worked) -> Figures:
    rows = len(worked.waits_s)
    return {
        "load": load,
        "way": way.name,
        "per_device_s": round(rows / worked.busy_s, 1),
        "mean_batch": round(rows / worked.batches, 1),
        "p50_wait_ms": round(quantile(worked.waits_s, 0.5) * 1e3, 1),
        "p99_wait_ms": round(quantile(worked.waits_s, 0.99) * 1e3, 1),
        "worst_wait_ms": round(max(worked.waits_s) * 1e3, 1),
    }


def _delivery(job: Job) -> Delivery:
    return Delivery(
        entry=EntryId(str(job.number)),
        lane=Lane.INTERACTIVE,
        job=JobId(str(job.number)),
        chunk=0,
        rows=1,
        tokens=job.tokens,
        longest=job.tokens,
        tenant=ONLY_TENANT,
        payload=b"",
    )
