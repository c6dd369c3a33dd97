"""Who is next among deliveries of several tenants: fair by tokens. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from shared.contract import Delivery, EntryId, Tenant


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery in its queue."""

    delivery: Delivery
    arrived: float
    start: int
    """Its turn: tokens that each tenant has had by then."""


class FairQueue:
    """One lane's deliveries in fair order: start-time fair queueing (Goyal et al. 1996).

    A tenant's next delivery starts where its last one ends, and who comes anew starts where the
    queue is now: many deliveries of one tenant do not hold up the few of another.
    """

    def __init__(self) -> None:
        self._waiting: dict[EntryId, Waiting] = {}
        self._ends: dict[Tenant, int] = {}
        self._now = 0
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, entry: EntryId) -> bool:
        return entry in self._waiting

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    def add(self, delivery: Delivery, *, now: float) -> None:
        """One that waits already keeps its place."""
        if delivery.entry in self._waiting:
            return
        start = max(self._now, self._ends.get(delivery.tenant, 0))
        self._ends[delivery.tenant] = start + delivery.tokens
        self._waiting[delivery.entry] = Waiting(delivery, now, start)
        self.tokens += delivery.tokens

    def remove(self, entries: Collection[EntryId]) -> None:
        """Their turn has come, or they are lost; the queue moves on to who is first now."""
        for entry in entries:
            left = self._waiting.pop(entry, None)
            self.tokens -= left.delivery.tokens if left else 0
        self._now = min((one.start for one in self), default=0)
        if not self._waiting:
            self._ends.clear()

    def in_order(self) -> list[Delivery]:
        """All that wait, the first in front; the older one where two are equal."""
        return [one.delivery for one in sorted(self, key=lambda one: one.start)]
