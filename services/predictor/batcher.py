"""Decide which leased deliveries share the next forward pass.

A pure state machine: no clock, no Redis, no tensors. The worker tells it the time and what
arrived; it answers with a micro-batch or with the moment to ask again.

A batch is as large as the time it may take allows, by what the device was measured to cost. The
first delivery in a lane is always in the batch that the lane leads, so nobody starves: one
with ``k`` others before it leaves with the ``k+1``-th of them, at the latest. First is the oldest;
among several tenants the turn goes round, fair by tokens. Large interactive requests take turns
with bulk, behind small ones: docs/adr/0017. Neighbours in length fill the batch while
they lower what a real token costs: the padding that they bring is weighed against the forward
that they save. While somebody waits for answers, bulk fills forwards only so far that the next who
comes does not wait long: docs/adr/0015.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from services.predictor.cost import CostModel, Extent
from services.predictor.fair_queue import FairQueue
from shared.contract import Delivery, EntryId, Lane

_LATELY_S: Final = 1.0
"""Who came within it is likely to come again."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """What bounds a micro-batch."""

    max_forward_s: float
    """How long a forward should last at most; a single larger delivery goes alone."""
    token_budget: int
    """Most tokens in one forward, padding included, whatever it costs: memory has an end."""
    max_rows: int
    packed: bool = False
    """The device computes real tokens only: like lengths need not travel together."""
    linger_s: float = 0.0
    """How long a free device waits for company."""
    least_tokens: int = 1
    """Every row is padded to as many at the least: a graph may have one length for all."""
    bulk_share: float = 0.2
    """Of the device's time, for the bulk lane while interactive work waits; and of
    ``max_forward_s``, for a forward that bulk fills while interactive work comes in."""


def _queue_of(lane: Lane) -> Lane:
    """Which of the two queues a lane waits in: what small interactive work goes before is one."""
    return lane if lane is Lane.INTERACTIVE else Lane.BULK


class Batcher:
    """The window of deliveries that are leased and not yet begun."""

    def __init__(self, policy: BatchPolicy, cost: CostModel) -> None:
        self._policy = policy
        self._cost = cost
        self._ceiling = policy.token_budget
        self._waiting = {Lane.INTERACTIVE: FairQueue(), Lane.BULK: FairQueue()}
        self._bulk_credit_s = 0.0
        self._interactive_at = -inf

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._waiting.values())

    def __contains__(self, entry: EntryId) -> bool:
        return any(entry in lane for lane in self._waiting.values())

    def tokens(self, lane: Lane) -> int:
        """Tokens of a lane that wait here."""
        return self._waiting[_queue_of(lane)].tokens(lane)

    @property
    def batch_tokens(self) -> float:
        """Tokens in a full batch, as far as is known."""
        s_per_token = self._cost.s_per_token
        affordable = (self._limit_s() - self._cost.fixed_s) / s_per_token if s_per_token else inf
        return min(self._ceiling, affordable)

    def tokens_per_s(self, row_tokens: float) -> float:
        """What full batches of rows of that length make; 0 while that is not known.

        What the device could do, not what it was asked to: a forward of one row is mostly fixed.
        """
        if not row_tokens:
            return 0.0
        policy = self._policy
        computed = max(row_tokens, policy.least_tokens)
        rows = max(1, min(policy.max_rows, int(self.batch_tokens / computed)))
        lengths = [max(1, round(row_tokens))] * rows
        extent = Extent.of(lengths, packed=policy.packed, least=policy.least_tokens)
        seconds = self._cost.seconds(extent)
        return extent.real_tokens / seconds if seconds else 0.0

    def add(self, delivery: Delivery, *, now: float) -> None:
        """Let a delivery wait for its batch; one that waits already keeps its place."""
        self._waiting[_queue_of(delivery.lane)].add(delivery, now=now)
        if delivery.lane is Lane.INTERACTIVE:
            self._interactive_at = now

    def discard(self, entries: Collection[EntryId]) -> None:
        """Forget deliveries whose lease was lost."""
        for lane in self._waiting.values():
            lane.remove(entries)

    def lower_ceiling(self, tokens: int) -> None:
        """Remember that a batch of this cost did not fit the device."""
        self._ceiling = max(1, min(self._ceiling, tokens // 2))

    def due_at(self, *, free_at: float) -> float | None:
        """When to ask for the next batch, or None while nothing waits.

        ``free_at`` is when the device should have its next batch at hand.
        """
        arrivals = [one.arrived for lane in self._waiting.values() for one in lane]
        if not arrivals:
            return None
        if self._policy.linger_s == 0.0 or self._has_a_full_batch():
            return free_at
        return max(free_at, min(arrivals) + self._policy.linger_s)

    def take(self, *, now: float, free_at: float) -> list[Delivery]:
        """Remove and return the next micro-batch, oldest first, or [] while it pays to wait."""
        due = self.due_at(free_at=free_at)
        if due is None or now < due:
            return []
        batch, extent = self._fill(self._leading_lane(), now=now)
        self._account(batch, extent)
        self.discard([delivery.entry for delivery in batch])
        return batch

    def _has_a_full_batch(self) -> bool:
        waiting = [one.delivery for lane in self._waiting.values() for one in lane]
        rows = sum(delivery.rows for delivery in waiting)
        tokens = sum(self._extent(delivery).tokens for delivery in waiting)
        return rows >= self._policy.max_rows or tokens >= self.batch_tokens

    def _extent(self, delivery: Delivery) -> Extent:
        rows, tokens = delivery.rows, delivery.tokens
        longest = max(delivery.longest, self._policy.least_tokens)
        return Extent(rows, longest, tokens, tokens * longest, self._policy.packed)

    def _limit_s(self) -> float:
        """Never so short that most of a forward is its fixed part."""
        return max(self._policy.max_forward_s, 2 * self._cost.fixed_s)

    def _bulk_limit_s(self, *, now: float) -> float:
        """A forward is not interrupted: who comes next waits for all of it."""
        if not self._waiting[Lane.INTERACTIVE] and now - self._interactive_at > _LATELY_S:
            return self._limit_s()
        slice_s = self._policy.bulk_share * self._policy.max_forward_s
        return max(slice_s, 2 * self._cost.fixed_s)

    def _leading_lane(self) -> Lane:
        if not self._waiting[Lane.BULK]:
            return Lane.INTERACTIVE
        if not self._waiting[Lane.INTERACTIVE]:
            return Lane.BULK
        return Lane.BULK if self._bulk_credit_s > 0 else Lane.INTERACTIVE

    def _account(self, batch: Sequence[Delivery], extent: Extent) -> None:
        """While both lanes wait, bulk earns its share of every forward, and pays for its part."""
        if self._waiting[Lane.BULK] and self._waiting[Lane.INTERACTIVE]:
            seconds = self._cost.seconds(extent)
            bulk = (
                sum(one.tokens for one in batch if one.lane is not Lane.INTERACTIVE)
                / extent.real_tokens
            )
            credit_s = self._bulk_credit_s + (self._policy.bulk_share - bulk) * seconds
            self._bulk_credit_s = min(max(credit_s, -self._limit_s()), self._limit_s())

    def _fill(self, leader_lane: Lane, *, now: float) -> tuple[list[Delivery], Extent]:
        waiting = {lane: queue.in_order() for lane, queue in self._waiting.items()}
        limits_s = {Lane.INTERACTIVE: self._limit_s(), Lane.BULK: self._bulk_limit_s(now=now)}
        first = waiting[leader_lane].pop(0)
        batch, extent = [first], self._extent(first)
        for lane in sorted(waiting, key=lambda one: one is not leader_lane):
            others = waiting[lane]
            if not self._policy.packed:
                others.sort(key=lambda one: abs(one.longest - first.longest))  # keeps turns in ties
            for delivery in others:
                if extent.rows >= self._policy.max_rows or extent.tokens >= self._ceiling:
                    break
                grown = extent.plus(self._extent(delivery))
                if self._fits(grown, limits_s[lane]) and self._worth_it(extent, grown):
                    batch.append(delivery)
                    extent = grown
        return batch, extent

    def _fits(self, extent: Extent, limit_s: float) -> bool:
        within = extent.tokens <= self._ceiling and extent.rows <= self._policy.max_rows
        return within and self._cost.seconds(extent) <= limit_s

    def _worth_it(self, extent: Extent, grown: Extent) -> bool:
        """No more device time for each real token than without it, where there is padding.

        Within one percent of the cheapest cut of the whole window: docs/adr/0008.
        """
        if extent.packed:
            return True
        seconds, grown_s = self._cost.seconds(extent), self._cost.seconds(grown)
        return grown.real_tokens * seconds >= extent.real_tokens * grown_s
