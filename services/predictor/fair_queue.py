"""Who is next among deliveries of several tenants and lanes: fair by tokens. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from shared.contract import Delivery, EntryId, Lane, Tenant


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery in its queue."""

    delivery: Delivery
    arrived: float
    start: int
    """Its turn: tokens that each flow, a tenant's in a lane, has had by then."""


class FairQueue:
    """Deliveries in fair order: start-time fair queueing (Goyal et al. 1996).

    A flow is what one tenant has in one lane. Its next delivery starts where its last one ends, and
    a new flow starts where the queue is now: many of one do not hold up the few of another.
    """

    def __init__(self) -> None:
        self._waiting: dict[EntryId, Waiting] = {}
        self._ends: dict[tuple[Tenant, Lane], int] = {}
        self._now = 0
        self._tokens: Counter[Lane] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, entry: EntryId) -> bool:
        return entry in self._waiting

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    def tokens(self, lane: Lane) -> int:
        """Of a lane that wait here."""
        return self._tokens[lane]

    def add(self, delivery: Delivery, *, now: float) -> None:
        """One that waits already keeps its place."""
        if delivery.entry in self._waiting:
            return
        flow = (delivery.tenant, delivery.lane)
        start = max(self._now, self._ends.get(flow, 0))
        self._ends[flow] = start + delivery.tokens
        self._waiting[delivery.entry] = Waiting(delivery, now, start)
        self._tokens[delivery.lane] += delivery.tokens

    def remove(self, entries: Collection[EntryId]) -> None:
        """Their turn has come, or they are lost; the queue moves on to who is first now."""
        for entry in entries:
            if left := self._waiting.pop(entry, None):
                self._tokens[left.delivery.lane] -= left.delivery.tokens
        self._now = min((one.start for one in self), default=0)
        if not self._waiting:
            self._ends.clear()

    def in_order(self) -> list[Delivery]:
        """All that wait, the first in front; the older one where two are equal."""
        return [one.delivery for one in sorted(self, key=lambda one: one.start)]
