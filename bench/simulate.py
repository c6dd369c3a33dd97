"""The batcher by itself: a closed loop of clients, real policy, a device that is a formula.

Says which bounds of a micro-batch waste least, in seconds instead of minutes and without noise.
The unit is the token: a forward costs ``fixed`` tokens and its rectangle, ``rows x longest``.
Compared with the same rows offline, sorted over everything and cut into padded batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from bench.plan import Figures, Measured, Plan
from bench.table import table
from bench.texts import lengths
from services.predictor.batcher import Batcher, BatchPolicy
from shared.contract import ONLY_TENANT, Delivery, EntryId, JobId, Lane

CLIENTS: Final = 64
FIXED_TOKENS: Final = 28
"""Of MiniLM-L6's shape on one core: a forward of 1 x 8 tokens takes what 36 take in a large one."""

_SEED: Final = 7
_BUDGETS: Final = (256, 512, 768, 1_024, 2_048)
_PADDINGS: Final = (0, 12, 24, 48, 96, 1_000_000)


@dataclass(frozen=True, slots=True)
class Worked:
    """What a run of the simulation cost."""

    rows: int
    batches: int
    real_tokens: int
    padded_tokens: int

    def cost(self, fixed_tokens: int) -> int:
        """Tokens that the device was busy with."""
        return self.padded_tokens + fixed_tokens * self.batches


def served(row_tokens: Sequence[int], policy: BatchPolicy, *, clients: int = CLIENTS) -> Worked:
    """``clients`` callers, each with one row under way; a batch is formed while one runs.

    Who is answered sends the next row, which comes too late for the batch that is formed by
    then: as in the predictor, where it is formed just before the device is free.
    """
    batcher, coming = Batcher(policy), iter(enumerate(row_tokens))

    def arrive(count: int) -> None:
        for _, (number, tokens) in zip(range(count), coming, strict=False):
            batcher.add(_delivery(number, tokens), now=0.0)

    arrive(clients)
    done = Worked(0, 0, 0, 0)
    running = batcher.take(now=0.0, free_at=0.0)
    while running:
        then = batcher.take(now=0.0, free_at=0.0)
        done = _plus(done, running)
        arrive(len(running))
        running = then or batcher.take(now=0.0, free_at=0.0)
    return done


def offline(row_tokens: Sequence[int], *, batch_tokens: int) -> Worked:
    """All rows sorted by length, cut where a batch would pass ``batch_tokens``."""
    done = Worked(0, 0, 0, 0)
    batch: list[Delivery] = []
    for number, tokens in enumerate(sorted(row_tokens)):
        if batch and (len(batch) + 1) * tokens > batch_tokens:
            done = _plus(done, batch)
            batch = []
        batch.append(_delivery(number, tokens))
    return _plus(done, batch)


def measure(plan: Plan) -> Measured:
    """Rows for each token of device time, as a share of what the best offline batches get."""
    rows = lengths(500 if plan.smoke else 5_000, seed=_SEED)
    best = min(offline(rows, batch_tokens=budget).cost(FIXED_TOKENS) for budget in _BUDGETS)
    runs: list[Figures] = []
    for budget, padding in product(_BUDGETS, _PADDINGS):
        policy = BatchPolicy(token_budget=budget, max_rows=64, forward_cost_tokens=padding)
        worked = served(rows, policy)
        runs.append(
            {
                "token_budget": budget,
                "forward_cost_tokens": padding,
                "mean_batch": round(worked.rows / worked.batches, 1),
                "padding": round(1 - worked.real_tokens / worked.padded_tokens, 3),
                "of_offline": round(best / worked.cost(FIXED_TOKENS), 3),
            }
        )
    winner = max(runs, key=lambda run: float(str(run["of_offline"])))
    return Measured(runs=runs, summary=winner, text=table(runs))


def _delivery(number: int, tokens: int) -> Delivery:
    return Delivery(
        entry=EntryId(str(number)),
        lane=Lane.INTERACTIVE,
        job=JobId(str(number)),
        chunk=0,
        rows=1,
        tokens=tokens,
        longest=tokens,
        tenant=ONLY_TENANT,
        payload=b"",
    )


def _plus(done: Worked, batch: Sequence[Delivery]) -> Worked:
    return replace(
        done,
        rows=done.rows + len(batch),
        batches=done.batches + 1,
        real_tokens=done.real_tokens + sum(delivery.tokens for delivery in batch),
        padded_tokens=done.padded_tokens + len(batch) * max(delivery.longest for delivery in batch),
    )
